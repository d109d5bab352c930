"""`/rollouts`, `/rollouts/{id}`: move devices to a version, a wave at a time, and watch it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.badge import badge
from dashboard.components.form import Form
from dashboard.components.layout import Anchor, Facts, Figure, Notice, Region, grid, heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.selector_input import SelectorInput
from dashboard.pages.version_input import VersionInput
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.rollouts import Rollout, RolloutRequest, RolloutTarget, Wave
from shoal.schemas.waiting import waiting

_SIZE: Final = 50
_SHOWN_TARGETS: Final = 500
_OPEN: Final = frozenset({"running", "paused"})
_BAD: Final = frozenset({"failed", "rejected", "timed_out"})


def rollout_list(page: Page) -> None:
    """Draw the page of all rollouts; with `?model=` its form is open already."""
    view = _List(page)
    view.begin()


def rollout(page: Page, rollout_id: str) -> None:
    """Draw the page of one rollout."""
    view = _View(page, rollout_id)
    view.live = page.live(lambda client: _load(client, rollout_id), view.show, every_s=1.0)


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = _RolloutForm(page)
        with heading("Rollouts"):
            form.button("New rollout", self._form.open, test_id="new-rollout", is_primary=True)
        with section("", test_id="rollouts"):
            self._table = Table(
                [
                    Column(name="what", label="Rollout"),
                    Column(name="state", label="State"),
                    Column(name="progress", label="Proven"),
                    Column(name="selector", label="Devices"),
                    Column(name="wave", label="Wave"),
                    Column(name="message", label="Says", is_long=True),
                    Column(name="by", label="Started"),
                ],
                nothing="No rollout yet. Start one: it moves a few devices first, and the rest on their evidence.",
                test_id="rollout-table",
            )
            self._pager = Pager[Rollout](size=_SIZE, on_move=self._refresh)
        if page.query.get("model"):
            ui.timer(0, self._form.open, once=True)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[Rollout]:
        return client.rollouts.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[Rollout]) -> None:
        now = datetime.now(UTC)
        self._table.show([_rollout_row(shown, now) for shown in found.items])
        self._pager.show(found)


class _RolloutForm:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = Form("New rollout", "Start the rollout", self._send, test_id="rollout-form")
        with self._form.fields():
            self._version = VersionInput(page, page.query, only_with_variants=True)
            self._selector = SelectorInput(page)
            self._waves = ui.input("Waves", value="1, 100%").props('outlined dense data-testid="waves"')
            words = "Counts or shares of all devices, in order; whoever is left moves in the last wave."
            ui.label(words).classes("hint")
            with ui.element("div").classes("side-by-side"):
                self._errors = form.number("May fail in a wave", 0, least=0, most=100, suffix="%")
                self._drop = form.number("May lose in accuracy", 2, least=0, most=100, step=0.5, suffix="points")

    async def open(self) -> None:
        if await self._version.load():
            self._form.open()

    async def _send(self) -> None:
        model, version = self._version.value()
        request = RolloutRequest(
            model=model,
            version=version,
            selector=self._selector.value(),
            waves=wording.parse_waves(self._waves.value or ""),
            error_ratio_limit=form.wanted_number(self._errors) / 100,
            accuracy_drop_limit=form.wanted_number(self._drop) / 100,
        )
        await self._page.act(lambda client: client.rollouts.create(request), _go_to, self._form.refuse)


@dataclass(frozen=True, kw_only=True)
class _Data:
    rollout: Rollout
    targets: list[RolloutTarget]


def _load(client: Client, rollout_id: str) -> _Data:
    return _Data(rollout=client.rollouts.show(rollout_id), targets=client.rollouts.targets(rollout_id).items)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, rollout_id: str) -> None:
        self._page = page
        self._rollout_id = rollout_id
        question = "Cancel this rollout? Devices that moved already stay where they are."
        self._confirm = form.confirm(question, "Cancel the rollout", self._cancel)
        with heading(f"Rollout {format.tail(rollout_id)}", under=[("Rollouts", "/rollouts")]):
            self._badge = Region()
            self._cancel_button = form.button("Cancel", self._confirm.open, test_id="cancel")
        self._message = Notice()
        with grid("figures"):
            self._version = Figure("To version", test_id="rollout-version")
            self._proven = Figure("Proven", test_id="proven")
            self._failed = Figure("Failed", test_id="failed")
            self._left = Figure("On the way", test_id="left")
        with grid():
            with section("Waves", test_id="waves"):
                self._waves = Region("waves")
            with section("Rollout"):
                self._facts = Facts()
            with section("Devices", wide=True, test_id="targets") as actions:
                self._targets = Table(
                    [
                        Column(name="device", label="Device"),
                        Column(name="wave", label="Wave", is_number=True),
                        Column(name="state", label="State"),
                        Column(name="progress", label="Progress"),
                        Column(name="waiting", label="Waits for"),
                        Column(name="variant", label="Variant"),
                        Column(name="message", label="Said", is_long=True),
                        Column(name="receipt", label="Receipt"),
                    ],
                    nothing="This rollout means no device.",
                    test_id="target-table",
                )
            with actions:
                self._cut = ui.label("").classes("words")

    def show(self, data: _Data) -> None:
        now, shown = datetime.now(UTC), data.rollout
        self._badge.show(shown.state, lambda state: badge(state, test_id="rollout-state"))
        self._cancel_button.set_visibility(shown.state in _OPEN)
        self._message.show(shown.message)
        left = shown.devices - shown.succeeded - shown.failed
        self._version.show(f"{shown.model}/{shown.version}")
        self._proven.show(format.count(shown.succeeded), f"of {format.count(shown.devices)}")
        self._failed.show(format.count(shown.failed))
        self._left.show(format.count(left if shown.state in _OPEN else 0))
        self._waves.show(shown.waves, _draw_waves)
        self._facts.show(_facts(shown, now))
        # Who is in trouble or on the way stands first: with thousands of devices the rest is what nobody looks for.
        ordered = sorted(data.targets, key=lambda target: (_rank(target), target.wave, target.device_id))
        self._targets.show([_target_row(target, now) for target in ordered[:_SHOWN_TARGETS]])
        is_cut = len(ordered) > _SHOWN_TARGETS
        self._cut.set_text(f"the first {_SHOWN_TARGETS} of {format.count(len(ordered))}" if is_cut else "")

    async def _cancel(self) -> None:
        def told(_: Rollout) -> None:
            ui.notify("The rollout is canceled.")

        await self._page.act(lambda client: client.rollouts.cancel(self._rollout_id), told)
        await self.live.refresh()


def _go_to(made: Rollout) -> None:
    ui.navigate.to(f"/rollouts/{made.id}")


def _rank(target: RolloutTarget) -> int:
    if target.state in _BAD:
        return 0
    return 1 if target.state in ("in_progress", "sent") else 2


def _draw_waves(waves: list[Wave]) -> None:
    for wave in waves:
        with ui.element("div").classes("wave").props(f'data-testid="wave-{wave.number}"'):
            ui.label(f"Wave {wave.number}")
            badge(wave.state)
            succeeded = wave.counts.get("succeeded", 0)
            failed = sum(wave.counts.get(state, 0) for state in _BAD)
            whole = max(wave.devices, 1)
            with ui.element("div").classes("track"):
                ui.element("div").classes("fill good").style(f"width: {succeeded / whole:.2%}")
                ui.element("div").classes("fill bad").style(f"width: {failed / whole:.2%}")
            ended = f"{format.count(succeeded)} of {format.count(wave.devices)} proven"
            ui.label(f"{ended}, {format.count(failed)} failed" if failed else ended).classes("counts")


def _facts(shown: Rollout, now: datetime) -> list[tuple[str, Any]]:
    finished = shown.finished_at
    took = format.duration((finished - shown.created_at).total_seconds()) if finished else ""
    return [
        ("Version", Anchor(f"{shown.model}/{shown.version}", f"/models/{shown.model}?version={shown.version}")),
        ("Devices", wording.selector(shown.selector)),
        ("Started", f"{format.age(shown.created_at, now)} by {shown.created_by}"),
        ("Ended", format.age(finished, now) if finished else ""),
        ("Took", took),
        ("Id", shown.id),
    ]


def _rollout_row(shown: Rollout, now: datetime) -> dict[str, Any]:
    running = next((wave.number for wave in shown.waves if wave.state == "running"), None)
    done = shown.succeeded / shown.devices if shown.devices else 0.0
    return {
        "id": shown.id,
        "what": table.link(f"{shown.model}/{shown.version}", f"/rollouts/{shown.id}", note=format.tail(shown.id)),
        "state": table.state(shown.state),
        "progress": table.progress(
            done, f"{format.count(shown.succeeded)} of {format.count(shown.devices)}", of=shown.state
        ),
        "selector": wording.selector(shown.selector),
        "wave": f"{running} of {len(shown.waves)}" if running else f"{len(shown.waves)}",
        "message": shown.message,
        "by": table.noted(format.age(shown.created_at, now), f"by {shown.created_by}"),
    }


def _target_row(target: RolloutTarget, now: datetime) -> dict[str, Any]:
    return {
        "id": target.device_id,
        "device": table.link(target.device_id, f"/devices/{target.device_id}", mono=True),
        "wave": str(target.wave),
        "state": table.state(target.state),
        "progress": table.progress(target.progress, of=target.state),
        "waiting": waiting(target.waiting_for, now),
        "variant": f"{target.recipe} {wording.runtime(target.runtime)}",
        "message": table.noted(target.code, target.message) if target.code or target.message else "",
        "receipt": table.mono(format.tail(target.receipt_id), title=target.receipt_id) if target.receipt_id else "",
    }
