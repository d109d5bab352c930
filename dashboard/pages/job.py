"""`/jobs/{id}`: how far a job is, what it says, what it tried; and ending it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, recipes, wording
from dashboard.components import form, table
from dashboard.components.badge import badge
from dashboard.components.chart import Chart
from dashboard.components.layout import Anchor, Facts, Notice, Region, grid, heading, section
from dashboard.components.table import Column, Table
from dashboard.components.trade_off import pareto_chart, sensitivity_of
from dashboard.page import Live, Page
from dashboard.pages.jobs import OPEN
from dashboard.pages.variants import SensitivityBox
from shoal.client import Client
from shoal.schemas.jobs import Job, JobLine, Trial

_EVERY_S: Final = 1.0
_LINES: Final = 500  # that are shown of a log, the newest
_PAGE: Final = 200
_TRIALS: Final = 1000
_STOPPED: Final = "stopped"
_FIGURES: Final = ("accuracy", "size_bytes", "latency_p50_ms")


@dataclass(frozen=True, kw_only=True)
class _Data:
    job: Job
    lines: list[JobLine]
    trials: list[Trial]


def job(page: Page, job_id: str) -> None:
    """Draw the page."""
    view = _View(page, job_id)
    view.live = page.live(view.load, view.show, every_s=_EVERY_S)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, job_id: str) -> None:
        self._page = page
        self._job_id = job_id
        self._known = 0  # the last line of the log that is shown
        self._settled: list[Trial] | None = None
        self._tried: list[Trial] = []
        with heading(f"Job {format.tail(job_id)}", under=[("Jobs", "/jobs")]):
            self._state = Region("actions")
            self._cancel = form.button("Cancel", self._ask_cancel, test_id="cancel-job")
        with section("Progress", test_id="progress"):
            self._bar = Region("inside")
            self._notice = Notice(is_alarm=True, test_id="job-refusal")
            self._facts = Facts()
        with grid() as self._charts:
            hint = "the larger, the slower; ringed: on the front"
            with section("Size against score", hint=hint):
                self._pareto = Chart(
                    test_id="trial-chart",
                    height_px=320,
                    label="Size against score of the trials; the table of trials has the same figures.",
                )
            with ui.element("div"):
                self._sensitivity = SensitivityBox("No trial measured its layers.")
        with section("Trials", hint="a recipe for a runtime each", test_id="trials"):
            self._trials = Table(
                [
                    Column(name="recipe", label="Recipe", is_long=True),
                    Column(name="runtime", label="Runtime"),
                    Column(name="state", label="State", is_long=True),
                    Column(name="front", label="Front"),
                    Column(name="size", label="Size", is_number=True),
                    Column(name="accuracy", label="Score", is_number=True),
                    Column(name="agreement", label="Agrees", is_number=True),
                    Column(name="p50", label="p50", is_number=True),
                    Column(name="p95", label="p95", is_number=True),
                ],
                nothing="Nothing was tried yet.",
                test_id="trial-table",
            )
            self._with_stopped = ui.checkbox("", on_change=self._show_trials).classes("inside")
            self._with_stopped.props('dense data-testid="with-stopped"')
        with section("Log", hint="the newest at the end", test_id="log"):
            self._log = ui.log(max_lines=_LINES).classes("job-log")
            self._log.props('role="log" aria-live="polite" aria-label="Log of the job" tabindex="0"')
            self._silence = ui.label("It has not said anything yet.").classes("words inside")

    def load(self, client: Client) -> _Data:
        found = client.jobs.show(self._job_id)
        after = self._known
        lines: list[JobLine] = []
        while True:
            some = client.jobs.log(self._job_id, after=after, limit=_PAGE).items
            lines += some
            if len(some) < _PAGE:
                break
            after = some[-1].number
        trials = _every_trial(client, self._job_id) if self._settled is None else self._settled
        if found.state not in OPEN:
            self._settled = trials  # those of a job that has ended do not change
        return _Data(job=found, lines=lines, trials=trials)

    def show(self, data: _Data) -> None:
        now, shown = datetime.now(UTC), data.job
        is_open = shown.state in OPEN
        self._state.show((shown.kind, shown.state), _draw_state)
        self._cancel.set_visibility(is_open)
        self._bar.show((shown.progress, shown.state, progress_words(shown, now)), _draw_bar)
        self._notice.show(f"{shown.message} [{shown.code}]" if shown.code and not is_open else "")
        self._facts.show(job_facts(shown, now))
        self._tried = data.trials
        self._show_trials()
        candidates = recipes.of_trials(data.trials)
        self._charts.set_visibility(bool(candidates))
        self._pareto.show(pareto_chart(candidates))
        names = {one.id: f"{one.recipe} for {wording.runtime(one.runtime)}" for one in data.trials}
        self._sensitivity.show({names[one.id]: sensitivity_of(one.figures) for one in data.trials})
        for line in (one for one in data.lines if one.number > self._known):
            self._log.push(log_line(line), classes=f"line {line.level}")
            self._known = line.number
        self._silence.set_visibility(not self._known)
        self._log.set_visibility(bool(self._known))

    def _show_trials(self) -> None:
        """Show what was tried; what was given up untried only to who asks for it."""
        stopped = sum(one.state == _STOPPED for one in self._tried)
        self._with_stopped.set_text(stopped_words(stopped))
        self._with_stopped.set_visibility(stopped > 0)
        is_whole = bool(self._with_stopped.value)
        self._trials.show([trial_row(one) for one in self._tried if is_whole or one.state != _STOPPED])

    def _ask_cancel(self) -> None:
        async def cancel() -> None:
            def done(_: Job) -> None:
                ui.notify("The job is being ended.")

            await self._page.act(lambda client: client.jobs.cancel(self._job_id), done)
            await self.live.refresh()

        question = "End this job?\nWhat it has finished stays; the rest is not made."
        form.confirm(question, "End it", cancel, no="Let it run").open()


def _every_trial(client: Client, job_id: str) -> list[Trial]:
    trials: list[Trial] = []
    cursor: str | None = None
    while len(trials) < _TRIALS:
        page = client.jobs.trials(job_id, limit=_PAGE, cursor=cursor)
        trials += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return trials


def stopped_words(count: int) -> str:
    """Say what a search has given up.

    >>> stopped_words(1), stopped_words(24)
    ('Show the one that was given up untried', 'Show the 24 that were given up untried')
    """
    return f"Show the {'one that was' if count == 1 else f'{count} that were'} given up untried"


def progress_words(shown: Job, now: datetime) -> str:
    """Say how far a job is, and how long it will still take."""
    if shown.state == "queued":
        return "It waits for its turn."
    took = None if shown.started_at is None else ((shown.finished_at or now) - shown.started_at).total_seconds()
    if shown.state not in OPEN:
        return f"It ended after {format.duration(took)}." if took is not None else "It ended."
    left = wording.remaining(shown.remaining_s) or "nobody can tell yet for how long"
    return f"{shown.progress:.0%} after {format.duration(took)}, {left}. {shown.message}".strip()


def job_facts(shown: Job, now: datetime) -> list[tuple[str, Any]]:
    """Say what a job is about, and what came of it."""
    model, _, number = shown.subject.rpartition("/")
    is_version = bool(model) and number.isdigit()
    about = Anchor(shown.subject, f"/models/{model}?version={number}") if is_version else shown.subject
    variants, closest = shown.result.get("variants"), shown.result.get("closest")
    return [
        ("About", about),
        ("Made", f"{len(variants)} variant{'s' if len(variants) != 1 else ''}" if isinstance(variants, list) else ""),
        ("The closest", closest_words(closest) if isinstance(closest, dict) else ""),
        ("Data set", str(shown.result.get("dataset") or "")),
        ("Score", format.ratio(shown.result["accuracy"]) if isinstance(shown.result.get("accuracy"), float) else ""),
        ("Attempt", str(shown.attempt) if shown.attempt > 1 else ""),
        ("Asked", f"{format.age(shown.created_at, now)} by {shown.created_by}"),
        ("Id", shown.id),
    ]


def closest_words(closest: dict[str, Any]) -> str:
    """Say which of the trials came nearest to the budget.

    >>> closest_words({"recipe": "int8", "runtime": "onnxruntime", "over": {"accuracy": 0.021}, "accuracy": 0.91})
    'int8 for ONNX Runtime: accuracy 91.0%; over the budget: accuracy by 2.1%'
    """
    said = ", ".join(recipes.figure(name, closest[name]) for name in _FIGURES if closest.get(name) is not None)
    held = closest.get("over")
    over = ", ".join(
        f"{name} by {format.ratio(share)}"
        for name, share in (held.items() if isinstance(held, dict) else ())
        if isinstance(share, float) and share > 0
    )
    told = f"{closest.get('recipe')} for {wording.runtime(str(closest.get('runtime')))}: {said}"
    return f"{told}; over the budget: {over}" if over else told


def trial_row(one: Trial) -> dict[str, Any]:
    """Give a trial as a row."""

    def of(name: str) -> Any:
        value = one.figures.get(name)
        return value if isinstance(value, int | float) else None

    size = of("size_bytes")
    return {
        "id": one.id,
        "recipe": table.noted(one.recipe, recipes.recipe(one.recipe, one.steps)),
        "runtime": wording.runtime(one.runtime),
        "state": table.state(one.state, note=f"{one.message} [{one.code}]" if one.code else one.message),
        "front": table.state("on it") if one.is_on_front else "",
        "size": format.size(None if size is None else int(size)),
        "accuracy": format.ratio(of("accuracy")),
        "agreement": format.ratio(of("agreement")),
        "p50": format.milliseconds(of("latency_p50_ms")),
        "p95": format.milliseconds(of("latency_p95_ms")),
    }


def log_line(line: JobLine) -> str:
    """Give a line of the log as it is shown; times in UTC."""
    level = "" if line.level == "info" else f"{line.level.upper()} "
    return f"{line.at:%H:%M:%S} {level}{line.text}"


def _draw_state(shown: Sequence[str]) -> None:
    kind, state = shown
    ui.label(kind).classes("words")
    badge(state, test_id="job-state")


def _draw_bar(shown: tuple[float, str, str]) -> None:
    ratio, state, words = shown
    cell = table.progress(ratio, of=state)
    assert isinstance(cell, dict)
    with ui.element("div").classes("meter") as meter:
        meter.props(f'role="progressbar" aria-valuemin=0 aria-valuemax=100 aria-valuenow={round(ratio * 100)}')
        meter.props["aria-label"] = "Progress"
        with ui.element("div").classes("track"):
            ui.element("div").classes(f"fill {cell['level']}").style(f"width: {ratio * 100:.1f}%")
    ui.label(words).classes("words").props('data-testid="progress-words"')
