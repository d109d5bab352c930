"""Models have signatures, versions may be ready-made files, and what made a variant is kept as its lineage."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
PROGRAM_PARTS = ("train_program", "eval_program", "weights")
STEPS = {"int8": [{"op": "quantize", "mode": "static", "calibration": "minmax", "aware": None, "float_layers": 0}]}

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("artifacts") as batch:
        batch.add_column(sa.Column("renewed_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE artifacts SET renewed_at = created_at")
    with op.batch_alter_table("models") as batch:
        batch.add_column(_json("signature", "{}"))
        batch.add_column(_json("preprocessing", "[]"))
        batch.add_column(sa.Column("licence", sa.String(), nullable=False, server_default=""))
    _rewrite("models", "name", ("input_shape", "class_labels"), _signature)
    with op.batch_alter_table("models") as batch:
        batch.drop_column("input_shape")
    with op.batch_alter_table("datasets") as batch:
        batch.add_column(_json("tensors", "{}"))
        batch.add_column(sa.Column("format", sa.String(), nullable=False, server_default="safetensors"))
        batch.add_column(sa.Column("source_sha256", sa.String(), nullable=True))
        batch.create_foreign_key(
            op.f("fk_datasets_source_sha256_artifacts"), "artifacts", ["source_sha256"], ["sha256"]
        )
    _rewrite("datasets", "id", ("sample_shape",), _tensors)
    with op.batch_alter_table("datasets") as batch:
        batch.drop_column("sample_shape")
    with op.batch_alter_table("versions") as batch:
        batch.add_column(sa.Column("format", sa.String(), nullable=False, server_default="program"))
        batch.add_column(sa.Column("file", sa.String(), nullable=True))
        batch.add_column(sa.Column("state", sa.String(), nullable=False, server_default="ready"))
        batch.add_column(sa.Column("code", sa.String(), nullable=False, server_default=""))
        batch.add_column(sa.Column("message", sa.String(), nullable=False, server_default=""))
        batch.add_column(_json("inspection", "{}"))
        batch.create_foreign_key(op.f("fk_versions_file_artifacts"), "artifacts", ["file"], ["sha256"])
        for name in PROGRAM_PARTS:
            batch.alter_column(name, existing_type=sa.String(), nullable=True)
    with op.batch_alter_table("variants") as batch:
        batch.add_column(_json("recipe_steps", "[]"))
        batch.add_column(sa.Column("format", sa.String(), nullable=False, server_default="onnx"))
        batch.add_column(_json("figures", "{}"))
        batch.add_column(_json("lineage", "{}"))
    _rewrite("variants", "id", ("recipe", "recipe_spec"), _lineage)
    with op.batch_alter_table("variants") as batch:
        batch.drop_column("recipe_spec")


def downgrade() -> None:
    """Take back; of a ready-made version its file stands where the old form wants programs."""
    with op.batch_alter_table("variants") as batch:
        batch.add_column(_json("recipe_spec", "{}"))
    _rewrite("variants", "id", ("lineage",), _recipe_spec)
    with op.batch_alter_table("variants") as batch:
        for name in ("recipe_steps", "format", "figures", "lineage"):
            batch.drop_column(name)
    for name in PROGRAM_PARTS:
        versions = sa.table("versions", *(sa.column(one) for one in (name, "file", "eval_program")))
        stands = sa.func.coalesce(versions.c[name], versions.c.file, versions.c.eval_program)
        op.execute(sa.update(versions).values({name: stands}))
    with op.batch_alter_table("versions") as batch:
        for name in PROGRAM_PARTS:
            batch.alter_column(name, existing_type=sa.String(), nullable=False)
        batch.drop_constraint(op.f("fk_versions_file_artifacts"), type_="foreignkey")
        for name in ("format", "file", "state", "code", "message", "inspection"):
            batch.drop_column(name)
    with op.batch_alter_table("datasets") as batch:
        batch.add_column(_json("sample_shape", "[]"))
    _rewrite("datasets", "id", ("tensors",), _sample_shape)
    with op.batch_alter_table("datasets") as batch:
        batch.drop_constraint(op.f("fk_datasets_source_sha256_artifacts"), type_="foreignkey")
        for name in ("tensors", "format", "source_sha256"):
            batch.drop_column(name)
    with op.batch_alter_table("models") as batch:
        batch.add_column(_json("input_shape", "[]"))
    _rewrite("models", "name", ("signature",), _input_shape)
    with op.batch_alter_table("models") as batch:
        for name in ("signature", "preprocessing", "licence"):
            batch.drop_column(name)
    with op.batch_alter_table("artifacts") as batch:
        batch.drop_column("renewed_at")


def _json(name: str, default: str) -> sa.Column[Any]:
    return sa.Column(name, JSON, nullable=False, server_default=default)


def _rewrite(table: str, key: str, old: tuple[str, ...], new: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Set JSON columns of every row from its old ones."""
    connection = op.get_bind()
    columns = [sa.column(key, sa.String()), *(sa.column(name) for name in old)]
    for row in connection.execute(sa.select(*columns).select_from(sa.table(table))).mappings().all():
        values = new({name: _decoded(name, row[name]) for name in old})
        rewritten = sa.table(table, sa.column(key, sa.String()), *(sa.column(name, JSON) for name in values))
        connection.execute(sa.update(rewritten).where(rewritten.c[key] == row[key]).values(**values))


def _decoded(name: str, value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and name != "recipe" else value


def _signature(old: Mapping[str, Any]) -> Mapping[str, Any]:
    taken = {"name": "input", "datatype": "FP32", "shape": [-1, *old["input_shape"]]}
    given = {"name": "output", "datatype": "FP32", "shape": [-1, len(old["class_labels"])]}
    return {"signature": {"inputs": [taken], "outputs": [given]}}


def _input_shape(old: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = old["signature"].get("inputs", [])
    return {"input_shape": inputs[0]["shape"][1:] if inputs else []}


def _tensors(old: Mapping[str, Any]) -> Mapping[str, Any]:
    samples = {"datatype": "FP32", "shape": old["sample_shape"]}
    return {"tensors": {"x": samples, "y": {"datatype": "INT64", "shape": []}}}


def _sample_shape(old: Mapping[str, Any]) -> Mapping[str, Any]:
    samples = [tensor["shape"] for name, tensor in sorted(old["tensors"].items()) if name.startswith("x")]
    return {"sample_shape": samples[0] if samples else []}


def _lineage(old: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = dict(old["recipe_spec"])
    datasets = spec.pop("datasets", {})
    return {"lineage": {"datasets": datasets, "settings": spec}, "recipe_steps": STEPS.get(old["recipe"], [])}


def _recipe_spec(old: Mapping[str, Any]) -> Mapping[str, Any]:
    lineage = old["lineage"]
    return {"recipe_spec": {**lineage.get("settings", {}), "datasets": lineage.get("datasets", {})}}
