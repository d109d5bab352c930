"""Compressions and evaluations as jobs: wanted by an operator, prepared for the worker, kept as rows.

Not here: how a variant is made and measured (`pipeline`, `evaluate`, on Ray).
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.lineage import DatasetRole
from controller.artifacts.tables import DatasetRow, ModelRow
from controller.compression import recipe
from controller.compression.recipe import Trial
from controller.errors import Conflict, Invalid
from controller.jobs import service as jobs
from controller.jobs.tables import JobRow
from controller.jobs.work import Kind
from shoal.schemas.jobs import CompressionRequest

COMPRESS: Final = "compress"
_ROLES: Final = (DatasetRole.CALIBRATION, DatasetRole.EVALUATION, DatasetRole.GOLDEN)


def create(session: Session, request: CompressionRequest, actor: str) -> JobRow:
    """Want variants of a version. What exists already is skipped, so asking again is harmless.

    Raises:
        NotFound: `version.not_found`, `dataset.not_found`.
        Invalid: `recipe.duplicate`, `recipe.wrong_role`, `recipe.wrong_shape`.
        Conflict: `recipe.in_progress`, where a job makes one of the variants now.
    """
    version = artifacts.get_version(session, request.model, request.version)
    model = artifacts.get_model(session, version.model)
    trials = recipe.plan((wanted.name, wanted.runtimes) for wanted in request.recipes)
    names = (request.calibration_dataset, request.evaluation_dataset, request.golden_dataset)
    datasets = {role.value: _dataset(session, model, role, name).id for role, name in zip(_ROLES, names, strict=True)}
    subject = f"{version.model}/{version.number}"
    for other in jobs.list_open(session, kind=COMPRESS, subject=subject):
        if set(_trials(other)) & set(trials):
            raise Conflict("recipe.in_progress", f"Job {other.id} makes one of these variants now.", job_id=other.id)
    spec = {
        "version_id": version.id,
        "trials": [[trial.recipe, trial.runtime] for trial in trials],
        "datasets": datasets,
    }
    return jobs.create(session, kind=COMPRESS, subject=subject, spec=spec, actor=actor)


def _dataset(session: Session, model: ModelRow, role: DatasetRole, name: str) -> DatasetRow:
    dataset = artifacts.get_dataset(session, name)
    if dataset.role != role:
        raise Invalid("recipe.wrong_role", f"{name} is for {dataset.role}; needed is one for {role}.")
    if dataset.sample_shape != model.input_shape:
        message = f"A sample of {name} has shape {dataset.sample_shape}, an input of {model.name} {model.input_shape}."
        raise Invalid("recipe.wrong_shape", message)
    return dataset


def _trials(row: JobRow) -> list[Trial]:
    return [Trial(*pair) for pair in row.spec["trials"]]


def _prepare_compression(session: Session, row: JobRow) -> Mapping[str, Any]:
    version = artifacts.version_by_id(session, row.spec["version_id"])
    done = {Trial(variant.recipe, variant.runtime) for variant in artifacts.list_variants(session, version.id)}
    return {
        "program": version.eval_program,
        "weights": version.weights,
        "trials": [[trial.recipe, trial.runtime] for trial in _trials(row) if trial not in done],
        **{role: artifacts.get_dataset(session, id_).sha256 for role, id_ in row.spec["datasets"].items()},
    }


def _keep_variant(session: Session, row: JobRow, trial: Mapping[str, Any]) -> None:
    for sha256, size in ((trial["sha256"], trial["size_bytes"]), (trial["golden_sha256"], trial["golden_size_bytes"])):
        artifacts.record_artifact(session, sha256, size, row.id)
    columns = {name: value for name, value in trial.items() if name != "golden_size_bytes"}
    spec = {**recipe.SETTINGS[trial["recipe"]], "datasets": row.spec["datasets"]}
    artifacts.add_variant(session, version_id=row.spec["version_id"], recipe_spec=spec, job_id=row.id, **columns)


def _prepare_evaluation(session: Session, row: JobRow) -> Mapping[str, Any]:
    known = artifacts.find_evaluation(session, row.spec["weights"], row.spec["dataset_id"])
    if known is None:
        return row.spec
    return {**row.spec, "known": {"accuracy": known.accuracy, "loss": known.loss, "samples": known.samples}}


def _keep_evaluation(session: Session, row: JobRow, trial: Mapping[str, Any]) -> None:
    measured = {name: trial[name] for name in ("accuracy", "loss", "samples")}
    artifacts.record_evaluation(
        session, weights=row.spec["weights"], dataset_id=row.spec["dataset_id"], job_id=row.id, **measured
    )


KINDS: Final[Mapping[str, Kind]] = {
    COMPRESS: Kind(
        function="controller.compression.pipeline:compress", prepare=_prepare_compression, keep=_keep_variant
    ),
    "evaluate": Kind(
        function="controller.compression.evaluate:evaluate", prepare=_prepare_evaluation, keep=_keep_evaluation
    ),
}
