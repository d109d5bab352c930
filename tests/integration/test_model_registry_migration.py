"""Models, data sets and variants of before signatures, brought to them and back, on both databases."""

import json

from sqlalchemy import text

from controller import migrate
from controller.artifacts.tables import ArtifactRow, DatasetRow, ModelRow, VariantRow, VersionRow
from controller.db import Database

SHA = "a" * 64
DATASETS = {"calibration": "d"}
ROWS = (
    "INSERT INTO artifacts (sha256, size_bytes, created_at, created_by) VALUES (:sha, 3, 7, 't')",
    "INSERT INTO datasets (id, name, role, sha256, samples, sample_shape, created_at, created_by) "
    "VALUES ('d', 'digits-few', 'golden', :sha, 2, '[1, 8, 8]', 0, 't')",
    "INSERT INTO models (name, task, input_shape, class_labels, created_at, created_by) "
    "VALUES ('digits', 'classification', '[1, 8, 8]', '[\"a\", \"b\"]', 0, 't')",
    "INSERT INTO versions (id, model, number, source, train_program, eval_program, weights, lineage, created_at, "
    "created_by) VALUES ('v', 'digits', 1, 'uploaded', :sha, :sha, :sha, '{}', 0, 't')",
    "INSERT INTO variants (id, version_id, recipe, recipe_spec, runtime, sha256, golden_sha256, size_bytes, accuracy, "
    "agreement, latency_p50_ms, samples, job_id, created_at) "
    "VALUES ('w', 'v', 'int8', :spec, 'onnxruntime', :sha, :sha, 3, 1, 1, 1, 2, 'j', 0)",
)


def test_migrations_when_a_model_has_an_input_shape_then_it_becomes_a_signature_and_goes_back(
    empty_database: Database,
) -> None:
    migrate.upgrade(empty_database, "0009")
    spec = {"quantization": "static", "datasets": DATASETS}
    with empty_database.engine.begin() as connection:
        for row in ROWS:
            values = {"sha": SHA, "spec": json.dumps(spec)}
            connection.execute(text(row), {name: value for name, value in values.items() if f":{name}" in row})
    for _ in range(2):
        migrate.upgrade(empty_database, "0010")
        with empty_database.reading() as session:
            assert session.get_one(ModelRow, "digits").signature == {
                "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
                "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}],
            }
            assert session.get_one(DatasetRow, "d").tensors == {
                "x": {"datatype": "FP32", "shape": [1, 8, 8]},
                "y": {"datatype": "INT64", "shape": []},
            }
            version, variant = session.get_one(VersionRow, "v"), session.get_one(VariantRow, "w")
            assert (version.format, version.state, version.file, version.weights) == ("program", "ready", None, SHA)
            assert variant.lineage == {"datasets": DATASETS, "settings": {"quantization": "static"}}
            assert [step["op"] for step in variant.recipe_steps] == ["quantize"]
            artifact = session.get_one(ArtifactRow, SHA)
            assert artifact.renewed_at == artifact.created_at
        migrate.downgrade(empty_database, "0009")
    with empty_database.engine.connect() as connection:
        shapes = [
            connection.scalar(text(query))
            for query in ("SELECT input_shape FROM models", "SELECT sample_shape FROM datasets")
        ]
        kept = connection.scalar(text("SELECT recipe_spec FROM variants"))
    assert [json.loads(_text(shape)) for shape in shapes] == [[1, 8, 8]] * 2
    assert json.loads(_text(kept)) == spec


def test_migrations_when_a_version_is_a_file_then_its_file_stands_for_programs_below(empty_database: Database) -> None:
    migrate.upgrade(empty_database, "0010")
    with empty_database.engine.begin() as connection:
        connection.execute(text(ROWS[0]), {"sha": SHA})
        connection.execute(
            text(
                "INSERT INTO models (name, task, signature, class_labels, created_at, created_by) "
                "VALUES ('made', 'regression', '{}', '[]', 0, 't')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO versions (id, model, number, source, format, file, lineage, created_at, created_by) "
                "VALUES ('v', 'made', 1, 'uploaded', 'onnx', :sha, '{}', 0, 't')"
            ),
            {"sha": SHA},
        )
    migrate.downgrade(empty_database, "0009")
    with empty_database.engine.connect() as connection:
        assert connection.scalar(text("SELECT weights FROM versions")) == SHA


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
