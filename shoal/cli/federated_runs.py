"""`shoal federated-runs`: devices learn together; each keeps its data."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli import watch as watching
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
    Watch,
    parse_selector,
)
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.federated import FederatedRun, FederatedRunRequest, Round, TrainingSettings

app = typer.Typer(no_args_is_help=True, help="Devices learn together; each keeps its data.")
RunId = Annotated[str, typer.Argument(metavar="RUN")]
_DEFAULTS: Final = TrainingSettings(dataset="any")

_COLUMNS: Final = (
    Column[FederatedRun](title="Run", of=lambda run: run.id),
    Column[FederatedRun](title="Base", of=lambda run: f"{run.model}/{run.base_version}"),
    Column[FederatedRun](title="State", of=lambda run: run.state),
    Column[FederatedRun](title="Rounds", of=lambda run: f"{run.rounds_closed} of {run.rounds_total}", is_number=True),
    Column[FederatedRun](title="Before", of=lambda run: figures.percent(run.baseline_accuracy), is_number=True),
    Column[FederatedRun](title="Now", of=lambda run: figures.percent(run.accuracy), is_number=True),
    Column[FederatedRun](title="Created", of=lambda run: run.created_at),
)
_ROUNDS: Final = (
    Column[Round](title="Round", of=lambda entry: entry.number, is_number=True),
    Column[Round](title="State", of=lambda entry: entry.state),
    Column[Round](title="Updates", of=lambda entry: f"{entry.updates} of {entry.cohort}", is_number=True),
    Column[Round](title="Examples", of=lambda entry: f"{entry.examples:,}", is_number=True),
    Column[Round](title="Loss", of=lambda entry: None if entry.loss is None else f"{entry.loss:.4f}", is_number=True),
    Column[Round](title="Accuracy", of=lambda entry: figures.percent(entry.accuracy), is_number=True),
    Column[Round](
        title="Took",
        of=lambda entry: None if entry.duration_s is None else figures.duration(entry.duration_s),
        is_number=True,
    ),
    Column[Round](title="Message", of=lambda entry: entry.message, is_long=True, is_optional=True),
)


@app.command()
def create(
    model: Annotated[str, typer.Option("--model", help="The model.")],
    version: Annotated[int, typer.Option("--version", min=1, help="The version to begin with.")],
    dataset: Annotated[str, typer.Option("--dataset", help="The name of the devices' local data.")],
    evaluation: Annotated[str, typer.Option("--evaluation", metavar="DATASET", help="Measures each round here.")],
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1)] = 10,
    local_epochs: Annotated[int, typer.Option("--local-epochs", min=1)] = _DEFAULTS.local_epochs,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = _DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option("--learning-rate")] = _DEFAULTS.learning_rate,
    momentum: Annotated[float, typer.Option("--momentum")] = _DEFAULTS.momentum,
    seed: Annotated[int, typer.Option("--seed", min=0)] = _DEFAULTS.seed,
    round_timeout_s: Annotated[float, typer.Option("--round-timeout-s")] = _DEFAULTS.round_timeout_s,
    min_updates: Annotated[int, typer.Option("--min-updates", min=1)] = _DEFAULTS.min_updates,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a run; it makes the model's next version."""
    request = FederatedRunRequest(
        model=model,
        version=version,
        selector=parse_selector(to_all, devices, labels, selector),
        rounds=rounds,
        evaluation_dataset=evaluation,
        training=TrainingSettings(
            dataset=dataset,
            local_epochs=local_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            momentum=momentum,
            seed=seed,
            round_timeout_s=round_timeout_s,
            min_updates=min_updates,
        ),
    )
    with connect() as client:
        _follow(client, client.federated_runs.create(request), is_watched=watch, as_json=as_json)


@app.command("list")
def list_runs(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List runs, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.federated_runs.list(limit=limit, cursor=cursor)
        )
    empty = "No federated runs yet: start one with `shoal federated-runs create`."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """Show a run and its rounds."""
    with connect() as client:
        _show(client.federated_runs.show(run), as_json=as_json)


@app.command()
def watch(run: RunId, as_json: Json = False) -> None:
    """Watch a run until it has ended; exit code 1 unless it succeeded."""
    with connect() as client:
        _follow(client, client.federated_runs.show(run), is_watched=True, as_json=as_json)


@app.command()
def cancel(run: RunId, as_json: Json = False) -> None:
    """Stop a run; its closed rounds stay."""
    with connect() as client:
        _show(client.federated_runs.cancel(run), as_json=as_json)


def _follow(client: Client, run: FederatedRun, *, is_watched: bool, as_json: bool) -> None:
    if is_watched:
        run = watching.watch(lambda: client.federated_runs.show(run.id), _bars, is_quiet=as_json)
    _show(run, as_json=as_json)
    watching.exit_by(run.state)


def _bars(run: FederatedRun) -> list[Bar]:
    words = f"{run.rounds_closed} of {run.rounds_total} rounds"
    if run.accuracy is not None:
        words += f", accuracy {figures.percent(run.baseline_accuracy)} -> {figures.percent(run.accuracy)}"
    now = run.rounds[-1] if run.rounds else None
    if now is not None and now.state == "open":
        words += f"; round {now.number}: {now.updates} of {now.cohort} updates"
    return [Bar(name="rounds", share=run.rounds_closed / run.rounds_total, words=words)]


def _show(run: FederatedRun, *, as_json: bool) -> None:
    result = None if run.result_version is None else f"{run.model}/{run.result_version}"
    facts: dict[str, Any] = {
        "Run": run.id,
        "State": run.state,
        "Message": run.message,
        "Base": f"{run.model}/{run.base_version}",
        "Result": result,
        "Rounds": f"{run.rounds_closed} of {run.rounds_total}",
        "Accuracy": f"{figures.percent(run.baseline_accuracy)} before, {figures.percent(run.accuracy)} now",
        "By": run.created_by,
        "Created": run.created_at,
        "Finished": run.finished_at,
    }
    show_item(run, facts, Part(items=run.rounds, columns=_ROUNDS), as_json=as_json)
