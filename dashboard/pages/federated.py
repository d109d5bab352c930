"""`/federated-runs`, `/federated-runs/{id}`: devices learn together, round by round."""

from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format
from dashboard.components import chart, form, table
from dashboard.components.badge import badge
from dashboard.components.chart import Chart
from dashboard.components.form import Form
from dashboard.components.layout import Anchor, Facts, Figure, Notice, Region, grid, heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.selector_input import SelectorInput
from dashboard.pages.version_input import VersionInput
from dashboard.wording import Unreadable
from shoal.client import Client
from shoal.schemas.artifacts import Dataset
from shoal.schemas.common import Page as PageOf
from shoal.schemas.federated import FederatedRun, FederatedRunRequest, Round, TrainingSettings

_SIZE: Final = 50
_ENDED: Final = frozenset({"succeeded", "failed", "canceled"})


def run_list(page: Page) -> None:
    """Draw the page of all runs."""
    _List(page).begin()


def run(page: Page, run_id: str) -> None:
    """Draw the page of one run."""
    view = _View(page, run_id)
    view.live = page.live(lambda client: client.federated_runs.show(run_id), view.show, every_s=1.0)


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = _RunForm(page)
        with heading("Federated runs"):
            form.button("New run", self._form.open, test_id="new-run", is_primary=True)
        with section("", test_id="runs"):
            self._table = Table(
                [
                    Column(name="what", label="Run"),
                    Column(name="state", label="State"),
                    Column(name="progress", label="Rounds"),
                    Column(name="accuracy", label="Accuracy", is_number=True),
                    Column(name="result", label="Made"),
                    Column(name="message", label="Says", is_long=True),
                    Column(name="by", label="Started"),
                ],
                nothing="No run yet. Start one: devices train on their own data, and only weights leave them.",
                test_id="run-table",
            )
            self._pager = Pager[FederatedRun](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[FederatedRun]:
        return client.federated_runs.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[FederatedRun]) -> None:
        now = datetime.now(UTC)
        self._table.show([_run_row(shown, now) for shown in found.items])
        self._pager.show(found)


class _RunForm:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = Form("New federated run", "Start the run", self._send, test_id="run-form")
        with self._form.fields():
            self._version = VersionInput(page, page.query, only_with_variants=False)
            self._selector = SelectorInput(page)
            with ui.element("div").classes("side-by-side"):
                self._local = ui.input("Data set on the devices").props('outlined dense data-testid="local-dataset"')
                self._evaluation = form.select("Data set for evaluation", {})
            with ui.element("div").classes("side-by-side"):
                self._rounds = form.number("Rounds", 10, least=1, most=10_000)
                self._epochs = form.number("Epochs a round", 2, least=1, most=1000)
                self._batch = form.number("Batch size", 32, least=1, most=65_536)
            with ui.element("div").classes("side-by-side"):
                self._rate = form.number("Learning rate", 0.05, least=0, most=10, step=0.01)
                self._momentum = form.number("Momentum", 0.9, least=0, most=0.999, step=0.05)
                self._timeout = form.number("A round takes at most", 600, least=1, most=86_400, suffix="s")

    async def open(self) -> None:
        if await self._version.load():
            await self._page.act(lambda client: client.datasets.list(limit=200), self._offer)

    def _offer(self, found: PageOf[Dataset]) -> None:
        names = [one.name for one in found.items if one.role == "evaluation"]
        self._evaluation.set_options(names, value=self._evaluation.value or next(iter(names), None))
        self._form.open()

    async def _send(self) -> None:
        model, version = self._version.value()
        if not self._local.value or not self._evaluation.value:
            raise Unreadable("Name the data set on the devices, and choose one for the evaluation.")
        request = FederatedRunRequest(
            model=model,
            version=version,
            selector=self._selector.value(),
            rounds=int(form.wanted_number(self._rounds)),
            evaluation_dataset=self._evaluation.value,
            training=TrainingSettings(
                dataset=self._local.value.strip(),
                local_epochs=int(form.wanted_number(self._epochs)),
                batch_size=int(form.wanted_number(self._batch)),
                learning_rate=form.wanted_number(self._rate),
                momentum=form.wanted_number(self._momentum),
                round_timeout_s=form.wanted_number(self._timeout),
            ),
        )
        await self._page.act(lambda client: client.federated_runs.create(request), _go_to, self._form.refuse)


class _View:
    live: Live[FederatedRun]

    def __init__(self, page: Page, run_id: str) -> None:
        self._page = page
        self._run_id = run_id
        question = "Cancel this run? Its closed rounds stay, and no version is made."
        self._confirm = form.confirm(question, "Cancel the run", self._cancel)
        with heading(f"Federated run {format.tail(run_id)}", under=[("Federated runs", "/federated-runs")]):
            self._badge = Region()
            self._cancel_button = form.button("Cancel", self._confirm.open, test_id="cancel")
        self._message = Notice()
        with grid("figures"):
            self._rounds = Figure("Rounds closed", test_id="rounds-closed")
            self._baseline = Figure("Accuracy before")
            self._accuracy = Figure("Accuracy now", test_id="accuracy")
            self._result = Figure("Version made", test_id="result-version")
        with section("Accuracy by round", hint="round 0 is the version that the run started from", test_id="curve"):
            self._chart = Chart(test_id="run-chart", height_px=300)
        with section("Rounds", test_id="rounds"):
            self._table = Table(
                [
                    Column(name="number", label="Round"),
                    Column(name="state", label="State"),
                    Column(name="progress", label="Updates"),
                    Column(name="examples", label="Examples", is_number=True),
                    Column(name="loss", label="Training loss", is_number=True),
                    Column(name="accuracy", label="Accuracy", is_number=True),
                    Column(name="took", label="Took", is_number=True),
                    Column(name="message", label="Says", is_long=True),
                ],
                nothing="No round has begun yet.",
                test_id="round-table",
            )
        with section("Run"):
            self._facts = Facts()

    def show(self, shown: FederatedRun) -> None:
        now = datetime.now(UTC)
        self._badge.show(shown.state, lambda state: badge(state, test_id="run-state"))
        self._cancel_button.set_visibility(shown.state not in _ENDED)
        self._message.show(shown.message)
        self._rounds.show(format.count(shown.rounds_closed), f"of {format.count(shown.rounds_total)}")
        self._baseline.show(format.ratio(shown.baseline_accuracy), f"{shown.model}/{shown.base_version}")
        self._accuracy.show(format.ratio(shown.accuracy), _gain(shown))
        self._result.show(f"{shown.model}/{shown.result_version}" if shown.result_version else format.ABSENT)
        rounds = sorted(shown.rounds, key=lambda found: found.number)
        numbers = [0, *(found.number for found in rounds)]
        last = shown.rounds_total if shown.state not in _ENDED else numbers[-1]
        accuracies = [shown.baseline_accuracy, *(found.accuracy for found in rounds)]
        losses = [None, *(found.loss for found in rounds)]
        self._chart.show(
            chart.line_chart(numbers, {"accuracy": accuracies}, {"training loss": losses}, "round", x_max=last)
        )
        self._table.show([_round_row(found) for found in reversed(rounds)])
        self._facts.show(_facts(shown, now))

    async def _cancel(self) -> None:
        def told(_: FederatedRun) -> None:
            ui.notify("The run is canceled.")

        await self._page.act(lambda client: client.federated_runs.cancel(self._run_id), told)
        await self.live.refresh()


def _go_to(made: FederatedRun) -> None:
    ui.navigate.to(f"/federated-runs/{made.id}")


def _version(model: str, number: int) -> Anchor:
    return Anchor(f"{model}/{number}", f"/models/{model}?version={number}")


def _gain(shown: FederatedRun) -> str:
    if shown.accuracy is None or shown.baseline_accuracy is None:
        return ""
    return f"{(shown.accuracy - shown.baseline_accuracy) * 100:+.1f} points"


def _facts(shown: FederatedRun, now: datetime) -> list[tuple[str, Any]]:
    finished = shown.finished_at
    return [
        ("Starts from", _version(shown.model, shown.base_version)),
        ("Made", _version(shown.model, shown.result_version) if shown.result_version else ""),
        ("Started", f"{format.age(shown.created_at, now)} by {shown.created_by}"),
        ("Ended", format.age(finished, now) if finished else ""),
        ("Took", format.duration((finished - shown.created_at).total_seconds()) if finished else ""),
        ("Id", shown.id),
    ]


def _run_row(shown: FederatedRun, now: datetime) -> dict[str, Any]:
    done = f"{format.count(shown.rounds_closed)} of {format.count(shown.rounds_total)}"
    made = f"{shown.model}/{shown.result_version}"
    target = f"/models/{shown.model}?version={shown.result_version}"
    return {
        "id": shown.id,
        "what": table.link(
            f"from {shown.model}/{shown.base_version}", f"/federated-runs/{shown.id}", note=format.tail(shown.id)
        ),
        "state": table.state(shown.state),
        "progress": table.progress(shown.rounds_closed / shown.rounds_total, done, of=shown.state),
        "accuracy": table.noted(format.ratio(shown.accuracy), _gain(shown)),
        "result": table.link(made, target) if shown.result_version else "",
        "message": shown.message,
        "by": table.noted(format.age(shown.created_at, now), f"by {shown.created_by}"),
    }


def _round_row(found: Round) -> dict[str, Any]:
    loss = format.ABSENT if found.loss is None else f"{found.loss:.4f}"
    return {
        "id": found.number,
        "number": str(found.number),
        "state": table.state(found.state),
        "progress": table.progress(
            found.updates / found.cohort if found.cohort else 0.0, f"{found.updates} of {found.cohort}", of=found.state
        ),
        "examples": format.count(found.examples),
        "loss": loss,
        "accuracy": format.ratio(found.accuracy),
        "took": format.duration(found.duration_s),
        "message": found.message,
    }
