"""`shoal incremental-policies`: which devices watch a model for drift, and learn when they notice it."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli.options import (
    Cursor,
    Every,
    Json,
    Limit,
    Paging,
    ToAll,
    ToDevices,
    ToLabels,
    ToSelector,
    parse_selector,
)
from shoal.cli.output import Column, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.incremental import LearningSettings, MonitorSettings, Policy, PolicyRequest

app = typer.Typer(no_args_is_help=True, help="Which devices notice drift and learn alone.")
_MONITOR: Final = MonitorSettings()
_LEARNING: Final = LearningSettings(dataset="any")

_COLUMNS: Final = (
    Column[Policy](title="Policy", of=lambda policy: policy.id),
    Column[Policy](title="Model", of=lambda policy: policy.model),
    Column[Policy](title="Devices", of=lambda policy: figures.selector(policy.selector), is_long=True),
    Column[Policy](title="Active", of=lambda policy: policy.is_active),
    Column[Policy](title="PSI over", of=lambda policy: policy.monitor.threshold, is_number=True),
    Column[Policy](title="Samples", of=lambda policy: policy.learning.new_samples, is_number=True),
    Column[Policy](title="Steps", of=lambda policy: policy.learning.steps, is_number=True),
    Column[Policy](title="Created", of=lambda policy: policy.created_at),
)


@app.command()
def create(
    model: Annotated[str, typer.Option("--model", help="The model.")],
    dataset: Annotated[str, typer.Option("--dataset", help="The name of the devices' local data.")],
    replay: Annotated[str, typer.Option("--replay", metavar="DATASET", help="Old samples, mixed in while learning.")],
    retention: Annotated[str, typer.Option("--retention", metavar="DATASET", help="Measures what is kept.")],
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    threshold: Annotated[float, typer.Option("--threshold", help="PSI from which it is drift.")] = _MONITOR.threshold,
    reference_samples: Annotated[int, typer.Option("--reference-samples")] = _MONITOR.reference_samples,
    window: Annotated[int, typer.Option("--window", help="Samples that are compared.")] = _MONITOR.window,
    bins: Annotated[int, typer.Option("--bins")] = _MONITOR.bins,
    new_samples: Annotated[int, typer.Option("--new-samples")] = _LEARNING.new_samples,
    steps: Annotated[int, typer.Option("--steps")] = _LEARNING.steps,
    learning_rate: Annotated[float, typer.Option("--learning-rate")] = _LEARNING.learning_rate,
    momentum: Annotated[float, typer.Option("--momentum")] = _LEARNING.momentum,
    batch_new: Annotated[int, typer.Option("--batch-new")] = _LEARNING.batch_new,
    batch_replay: Annotated[int, typer.Option("--batch-replay")] = _LEARNING.batch_replay,
    temperature: Annotated[float, typer.Option("--temperature")] = _LEARNING.distillation_temperature,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="How much of the old accuracy may go.")
    ] = _LEARNING.max_old_accuracy_drop,
    timeout_s: Annotated[float, typer.Option("--timeout-s")] = _LEARNING.timeout_s,
    as_json: Json = False,
) -> None:
    """Make devices watch a model for drift, and learn when they notice it."""
    request = PolicyRequest(
        model=model,
        selector=parse_selector(to_all, devices, labels, selector),
        replay_dataset=replay,
        retention_dataset=retention,
        monitor=MonitorSettings(reference_samples=reference_samples, window=window, bins=bins, threshold=threshold),
        learning=LearningSettings(
            dataset=dataset,
            new_samples=new_samples,
            steps=steps,
            batch_new=batch_new,
            batch_replay=batch_replay,
            learning_rate=learning_rate,
            momentum=momentum,
            distillation_temperature=temperature,
            max_old_accuracy_drop=max_drop,
            timeout_s=timeout_s,
        ),
    )
    with connect() as client:
        made = client.incremental_policies.create(request)
    facts: dict[str, Any] = {
        "Policy": made.id,
        "Model": made.model,
        "Devices": figures.selector(made.selector),
        "Active": made.is_active,
        "Monitor": made.monitor.model_dump(),
        "Learning": made.learning.model_dump(),
        "By": made.created_by,
        "Created": made.created_at,
    }
    show_item(made, facts, as_json=as_json)


@app.command("list")
def list_policies(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List policies, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.incremental_policies.list(limit=limit, cursor=cursor)
        )
    empty = "No policies yet: make one with `shoal incremental-policies create`."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)
