"""How a model fits the fleet: `shoal models explain | demand | build | build-policy`."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures, jobs
from shoal.cli.errors import CliError
from shoal.cli.options import (
    Json,
    ToAll,
    ToDevices,
    ToLabels,
    ToSelector,
    Watch,
    parse_selector,
)
from shoal.cli.output import Column, Part, show_done, show_item
from shoal.cli.session import connect
from shoal.client import Client
from shoal.schemas.profiles import BuildPolicy, Candidate, Need
from shoal.schemas.recipes import Budget

ModelName = Annotated[str, typer.Argument(metavar="MODEL")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Without it: the newest.")]
DropLimit = Annotated[
    float, typer.Option("--accuracy-drop-limit", min=0, max=1, help="How much less accurate a variant may be.")
]
Calibration = Annotated[str, typer.Option("--calibration", metavar="DATASET", help="Data set of that role.")]
Evaluation = Annotated[str, typer.Option("--evaluation", metavar="DATASET", help="Data set of that role.")]
Golden = Annotated[str, typer.Option("--golden", metavar="DATASET", help="Data set of that role.")]
Training = Annotated[
    str | None, typer.Option("--training", metavar="DATASET", help="Data set of that role, for fine-tuning.")
]
policy_app = typer.Typer(no_args_is_help=True, help="Build what is missing whenever a version comes.")

_CANDIDATES: Final = (
    Column[Candidate](title="Variant", of=lambda one: f"{one.recipe} {one.runtime}"),
    Column[Candidate](title="Verdict", of=lambda one: one.code),
    Column[Candidate](title="Size", of=lambda one: figures.size(one.size_bytes), is_number=True),
    Column[Candidate](title="Accuracy", of=lambda one: figures.percent(one.accuracy), is_number=True),
    Column[Candidate](title="Latency", of=lambda one: _latency(one), is_number=True),
    Column[Candidate](title="By", of=lambda one: one.source),
    Column[Candidate](title="Why", of=lambda one: one.reason, is_long=True),
)
_NEEDS: Final = (
    Column[Need](title="Variant", of=lambda need: f"{need.recipe} {need.runtime}"),
    Column[Need](title="State", of=lambda need: need.state),
    Column[Need](title="Devices", of=lambda need: need.devices, is_number=True),
    Column[Need](title="Hardware", of=lambda need: need.hardware, is_long=True),
    Column[Need](title="Job", of=lambda need: need.job_id, is_optional=True),
    Column[Need](title="Why", of=lambda need: need.reason, is_long=True, is_optional=True),
)


def explain(
    model: ModelName,
    device: Annotated[str, typer.Option("--device", metavar="ID", help="The device.")],
    version: Version = None,
    accuracy_drop_limit: DropLimit = 0.02,
    as_json: Json = False,
) -> None:
    """Say which variant a device gets, and why not the others."""
    with connect() as client:
        found = client.profiles.explain(
            model, newest(client, model, version), device, accuracy_drop_limit=accuracy_drop_limit
        )
    facts = {
        "Version": f"{found.model}/{found.version}",
        "Device": found.device_id,
        "Hardware": found.hardware,
        "Class": found.hardware_class,
        "Gets": next((f"{one.recipe} {one.runtime}" for one in found.candidates if one.code == "chosen"), "nothing"),
    }
    show_item(found, facts, Part(items=found.candidates, columns=_CANDIDATES), as_json=as_json)


def demand(
    model: ModelName,
    version: Version = None,
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    accuracy_drop_limit: DropLimit = 0.02,
    as_json: Json = False,
) -> None:
    """Say which variants devices need, which exist, and which are missing; without a selector for all devices."""
    meant = parse_selector(to_all or not (devices or labels or selector), devices, labels, selector)
    with connect() as client:
        found = client.builds.demand(
            model, newest(client, model, version), selector=meant, accuracy_drop_limit=accuracy_drop_limit
        )
    facts = {
        "Version": f"{found.model}/{found.version}",
        "Devices": found.devices,
        "That nothing serves": found.without,
        "Selector": figures.selector(found.selector),
    }
    show_item(found, facts, Part(items=found.needs, columns=_NEEDS), as_json=as_json)


def build(
    model: ModelName,
    version: Version = None,
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    calibration: Annotated[str | None, typer.Option("--calibration", metavar="DATASET")] = None,
    evaluation: Annotated[str | None, typer.Option("--evaluation", metavar="DATASET")] = None,
    golden: Annotated[str | None, typer.Option("--golden", metavar="DATASET")] = None,
    training: Training = None,
    accuracy_drop_limit: DropLimit = 0.02,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Make what is missing; without data sets as the model's build policy says."""
    wants = None
    if calibration or evaluation or golden:
        if not (calibration and evaluation and golden):
            raise typer.BadParameter("Give --calibration, --evaluation and --golden, or none of them.")
        wants = BuildPolicy(
            selector=parse_selector(to_all or not (devices or labels or selector), devices, labels, selector),
            calibration_dataset=calibration,
            evaluation_dataset=evaluation,
            golden_dataset=golden,
            training_dataset=training,
            budget=Budget(max_accuracy_drop=accuracy_drop_limit),
        )
    with connect() as client:
        job = client.builds.build(model, newest(client, model, version), wants)
        jobs.follow(client, job, is_watched=watch, as_json=as_json)


@policy_app.command("set")
def set_policy(
    model: ModelName,
    calibration: Calibration,
    evaluation: Evaluation,
    golden: Golden,
    training: Training = None,
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    max_accuracy_drop: Annotated[float, typer.Option("--max-accuracy-drop", min=0, max=1)] = 0.02,
    max_size: Annotated[int | None, typer.Option("--max-size-bytes", min=1)] = None,
    max_latency: Annotated[float | None, typer.Option("--max-latency-ms", help="Of a single inference.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile/--no-profile", help="Have a device of each hardware class measure it.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Build what is missing for these devices whenever a version comes."""
    policy = BuildPolicy(
        selector=parse_selector(to_all, devices, labels, selector),
        calibration_dataset=calibration,
        evaluation_dataset=evaluation,
        golden_dataset=golden,
        training_dataset=training,
        budget=Budget(max_accuracy_drop=max_accuracy_drop, max_size_bytes=max_size, max_latency_ms=max_latency),
        profile=profile,
    )
    with connect() as client:
        _show_policy(model, client.builds.set_policy(model, policy), as_json=as_json)


@policy_app.command("show")
def show_policy(model: ModelName, as_json: Json = False) -> None:
    """Show a model's build policy."""
    with connect() as client:
        _show_policy(model, client.builds.show_policy(model), as_json=as_json)


@policy_app.command("remove")
def remove_policy(model: ModelName, as_json: Json = False) -> None:
    """Remove a model's build policy; what it made stays."""
    with connect() as client:
        client.builds.remove_policy(model)
    show_done(f"{model} has no build policy any more.", {"model": model}, as_json=as_json)


def newest(client: Client, model: str, version: int | None) -> int:
    """Give the version that is meant: the newest where none is named.

    Raises:
        CliError: `version.not_found`.
    """
    if version is not None:
        return version
    versions = client.models.list_versions(model, limit=1).items
    if not versions:
        raise CliError("version.not_found", f"{model} has no version yet: upload one with `shoal versions create`.")
    return versions[0].number


def _show_policy(model: str, policy: BuildPolicy, *, as_json: bool) -> None:
    facts = {
        "Model": model,
        "Devices": figures.selector(policy.selector),
        "Calibration": policy.calibration_dataset,
        "Evaluation": policy.evaluation_dataset,
        "Golden": policy.golden_dataset,
        "Training": policy.training_dataset,
        "Budget": policy.budget.model_dump(exclude_none=True),
        "Profiles": policy.profile,
    }
    show_item(policy, facts, as_json=as_json)


def _latency(one: Candidate) -> Any:
    return None if one.latency_p50_ms is None else f"{one.latency_p50_ms:.3g} ms"
