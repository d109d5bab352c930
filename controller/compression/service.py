"""Compressions and evaluations as jobs: wanted by an operator, checked, prepared for the workers.

Not here: how a variant is made and measured (`pipeline`, `evaluate`, on Ray); what a compression does next (`standing`,
`planning`, `search`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.datasets import misfit
from controller.artifacts.lineage import DatasetRole
from controller.artifacts.tables import DatasetRow, ModelRow, VersionRow
from controller.compression import inspection, standing
from controller.compression.choosing import recipe
from controller.compression.choosing.recipe import MIN_CALIBRATION, ONNX, PROGRAM, Given, Pipeline, Step
from controller.compression.choosing.space import space
from controller.compression.slowness import latency_factors
from controller.errors import Conflict, Invalid
from controller.jobs import service as jobs
from controller.jobs.tables import JobRow
from controller.jobs.work import Kind
from shoal.schemas.jobs import CompressionRequest, SensitivityRequest

COMPRESS: Final = "compress"
SENSITIVITY: Final = "sensitivity"
front_of: Final = standing.front_of


def create(session: Session, request: CompressionRequest, actor: str) -> JobRow:
    """Want variants of a version. What exists already is skipped, so asking again is harmless.

    Raises:
        NotFound: `version.not_found`, `dataset.not_found`.
        Invalid: `recipe.*` as `controller.compression.choosing.recipe.plan`; `recipe.wrong_role`, `recipe.wrong_shape`,
            `recipe.no_targets`; `selector.*` of the budget's.
        Conflict: `version.not_ready`; `recipe.in_progress`, where a job makes one of the variants now.
    """
    version = artifacts.ready_version(session, request.model, request.version)
    model = artifacts.get_model(session, version.model)
    names = {
        DatasetRole.CALIBRATION: request.calibration_dataset,
        DatasetRole.EVALUATION: request.evaluation_dataset,
        DatasetRole.GOLDEN: request.golden_dataset,
        DatasetRole.TRAINING: request.training_dataset,
    }
    datasets = {
        role: _dataset(session, model, role, name, is_compared=role is not DatasetRole.GOLDEN)
        for role, name in names.items()
        if name is not None
    }
    subject = f"{version.model}/{version.number}"
    others = jobs.list_open(session, kind=COMPRESS, subject=subject)
    given = Given(
        format=version.format,
        has_training=DatasetRole.TRAINING in datasets,
        calibration_samples=datasets[DatasetRole.CALIBRATION].samples,
        named=_named(session, version, others),
    )
    pipelines = _pipelines(request, given)
    pairs = {(one.name, runtime) for one in pipelines for runtime in one.runtimes}
    for other in others:
        if set(planned(other)) & pairs:
            raise Conflict("recipe.in_progress", f"Job {other.id} makes one of these variants now.", job_id=other.id)
    spec = {
        "version_id": version.id,
        "format": version.format,
        "pipelines": [
            {"name": one.name, "steps": list(one.steps), "runtimes": list(one.runtimes)} for one in pipelines
        ],
        "search": None if request.search is None else request.search.model_dump(mode="json"),
        "budget": None if request.budget is None else request.budget.model_dump(mode="json"),
        "factors": _factors(session, request),
        "datasets": {role.value: dataset.id for role, dataset in datasets.items()},
        "students": _students(session, version, pipelines),
    }
    row = jobs.create(session, kind=COMPRESS, subject=subject, spec=spec, actor=actor)
    unknown = standing.measured_here(row)
    if unknown:
        message = (
            f"No device of {row.spec['budget']['selector']} has a profile on {', '.join(unknown)}: the latency counts "
            "there as it is measured here."
        )
        jobs.add_lines(session, row, [("warning", message)])
    return row


def measure_sensitivity(session: Session, request: SensitivityRequest, actor: str) -> JobRow:
    """Want to know how much each layer of a version suffers from int8.

    Raises:
        NotFound: `version.not_found`, `dataset.not_found`.
        Invalid: `recipe.not_for_format`, `recipe.wrong_role`, `recipe.wrong_shape`, `recipe.no_targets`,
            `recipe.needs_calibration`.
        Conflict: `version.not_ready`.
    """
    version = artifacts.ready_version(session, request.model, request.version)
    if version.format not in (PROGRAM, ONNX):
        message = f"The layers of a version in the format {version.format} are not known: it goes as it is."
        raise Invalid("recipe.not_for_format", message)
    model = artifacts.get_model(session, version.model)
    datasets = {
        role: _dataset(session, model, role, name, is_compared=True)
        for role, name in (
            (DatasetRole.CALIBRATION, request.calibration_dataset),
            (DatasetRole.EVALUATION, request.evaluation_dataset),
        )
    }
    samples = datasets[DatasetRole.CALIBRATION].samples
    if samples < MIN_CALIBRATION:
        message = f"Layers are calibrated by at least {MIN_CALIBRATION} samples; there are {samples}."
        raise Invalid("recipe.needs_calibration", message)
    spec = {
        "version_id": version.id,
        "format": version.format,
        "datasets": {role.value: dataset.id for role, dataset in datasets.items()},
    }
    subject = f"{version.model}/{version.number}"
    return jobs.create(session, kind=SENSITIVITY, subject=subject, spec=spec, actor=actor)


def planned(row: JobRow) -> list[tuple[str, str]]:
    """Give what a compression is about: pairs of recipe and runtime."""
    return [(one.name, runtime) for one in standing.pipelines_of(row.spec["pipelines"]) for runtime in one.runtimes]


def _pipelines(request: CompressionRequest, given: Given) -> list[Pipeline]:
    if request.search is None:
        wanted = [
            (
                one.name,
                None if one.steps is None else [step.model_dump(mode="json") for step in one.steps],
                one.runtimes,
            )
            for one in request.recipes
        ]
        return recipe.plan(wanted, given)
    found = space(request.search.runtimes, given.format, has_training=given.has_training)
    if not found:
        message = f"No recipe makes a version in the format {given.format} run on {', '.join(request.search.runtimes)}."
        raise Invalid("recipe.not_for_format", message)
    return recipe.plan([(one.name, one.steps, one.runtimes) for one in found], given)


def _factors(session: Session, request: CompressionRequest) -> dict[str, float]:
    if request.budget is None or request.budget.selector is None:
        return {}
    return latency_factors(session, request.budget.selector)


def _named(session: Session, version: VersionRow, others: Sequence[JobRow]) -> dict[str, Sequence[Step]]:
    """Give the pipelines of a version that have names already."""
    named: dict[str, Sequence[Step]] = {
        one.recipe: one.recipe_steps for one in artifacts.list_variants(session, version.id)
    }
    for other in others:
        named |= {one.name: one.steps for one in standing.pipelines_of(other.spec["pipelines"])}
    return named


def _students(session: Session, version: VersionRow, pipelines: Sequence[Pipeline]) -> dict[str, dict[str, str]]:
    """Give the programs of the versions that recipes name as students."""
    numbers = {step["student"] for one in pipelines for step in one.steps if step.get("student") is not None}
    students = {}
    for number in sorted(numbers):
        student = artifacts.ready_version(session, version.model, number)
        if student.format != PROGRAM or student.eval_program is None or student.weights is None:
            raise Invalid(
                "recipe.not_for_format", f"A student is a program; {version.model}/{number} is {student.format}."
            )
        students[str(number)] = {"program": student.eval_program, "weights": student.weights}
    return students


def _dataset(session: Session, model: ModelRow, role: DatasetRole, name: str, *, is_compared: bool) -> DatasetRow:
    dataset = artifacts.get_dataset(session, name)
    if dataset.role != role:
        raise Invalid("recipe.wrong_role", f"{name} is for {dataset.role}; needed is one for {role}.")
    reason = misfit(artifacts.signature_of(model), dataset.tensors)
    if reason:
        raise Invalid("recipe.wrong_shape", f"{name} does not fit {model.name}: {reason}")
    needs_targets = is_compared and role is not DatasetRole.CALIBRATION
    if needs_targets and not any(tensor.partition(".")[0] == "y" for tensor in dataset.tensors):
        raise Invalid("recipe.no_targets", f"{name} has no y: what is expected of a sample, to compare with.")
    return dataset


def _prepare_compression(session: Session, row: JobRow) -> Mapping[str, Any]:
    told = {name: row.spec[name] for name in ("budget", "factors", "students")}
    return {**_prepare_sensitivity(session, row), **told}


def _prepare_sensitivity(session: Session, row: JobRow) -> Mapping[str, Any]:
    version = artifacts.version_by_id(session, row.spec["version_id"])
    model = artifacts.get_model(session, version.model)
    parts = {"program": version.eval_program, "weights": version.weights, "file": version.file}
    return {
        "format": version.format,
        "task": model.task,
        "signature": model.signature,
        **{name: sha256 for name, sha256 in parts.items() if sha256 is not None},
        **{role: artifacts.get_dataset(session, id_).sha256 for role, id_ in row.spec["datasets"].items()},
    }


def _prepare_evaluation(session: Session, row: JobRow) -> Mapping[str, Any]:
    known = artifacts.find_evaluation(session, row.spec["weights"], row.spec["dataset_id"])
    if known is None:
        model = artifacts.get_model(session, row.subject.partition("/")[0])
        return {**row.spec, "task": model.task, "signature": model.signature}
    return {**row.spec, "known": {"accuracy": known.accuracy, "loss": known.loss, "samples": known.samples}}


def _keep_evaluation(session: Session, row: JobRow, trial: Mapping[str, Any]) -> None:
    measured = {name: trial[name] for name in ("accuracy", "loss", "samples")}
    artifacts.record_evaluation(
        session, weights=row.spec["weights"], dataset_id=row.spec["dataset_id"], job_id=row.id, **measured
    )


KINDS: Final[Mapping[str, Kind]] = {
    inspection.INSPECT: inspection.KIND,
    COMPRESS: Kind(
        function="controller.compression.workers.pipeline:compress",
        prepare=_prepare_compression,
        keep=standing.keep,
        steps=standing.STEPS,
    ),
    SENSITIVITY: Kind(
        function="controller.compression.workers.pipeline:sensitivity",
        prepare=_prepare_sensitivity,
        keep=lambda _session, _row, _trial: None,  # nothing is found in parts: the job's result says all
    ),
    "evaluate": Kind(
        function="controller.compression.workers.evaluate:evaluate", prepare=_prepare_evaluation, keep=_keep_evaluation
    ),
}
