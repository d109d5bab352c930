"""Everything that happened to a device, newest first; older things when they are asked for."""

from collections.abc import Awaitable, Callable
from typing import Final

from nicegui import ui

from dashboard import wording
from dashboard.components import form
from dashboard.components.badge import Tone, tone_of
from dashboard.components.layout import empty, section
from dashboard.components.timeline import Entry, Timeline
from dashboard.page import Page
from dashboard.pages.activity import address
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import Event

_SIZE: Final = 25
_MOST: Final = 1000  # entries that a page keeps
_FILTERS: Final = {
    "": "Everything",
    "device.": "Presence and state",
    "execution.": "Executions",
    "receipt.": "Receipts",
    "alert.": "Alerts",
    "group.": "Groups",
    "facts.": "Facts",
    "certificate.": "Certificates",
    "incremental_update.": "Learning",
}
_ICONS: Final = {
    "alert": "notifications",
    "certificate": "badge",
    "command": "terminal",
    "device": "memory",
    "evidence": "troubleshoot",
    "execution": "checklist",
    "facts": "fact_check",
    "group": "group_work",
    "incremental_update": "model_training",
    "receipt": "verified",
}
_TONES: Final = {
    "alert.fired": Tone.BAD,
    "alert.resolved": Tone.GOOD,
    "device.activated": Tone.GOOD,
    "device.cloned": Tone.BAD,
    "device.flapping": Tone.WARN,
    "device.offline": Tone.OFF,
    "device.online": Tone.GOOD,
    "device.retired": Tone.OFF,
    "device.suspended": Tone.WARN,
    "receipt.accepted": Tone.GOOD,
}


class TimelineBox:
    """The box: a filter, the newest, and a button for what is older."""

    def __init__(self, page: Page, device_id: str, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._device_id = device_id
        self._refresh = refresh
        self._kept: dict[str, Event] = {}
        self._cursor: str | None = None
        with section("Timeline", hint="newest first", test_id="events", wide=True) as actions:
            self._timeline = Timeline(label="What happened", test_id="timeline")
            self._nothing = empty("Nothing of this kind has happened to it yet.")
            with ui.element("div").classes("more-row"):
                self._more = form.button("Show older", self._older, test_id="older")
        with actions:
            self._filter = form.select("Kind", dict(_FILTERS))
            self._filter.props('data-testid="timeline-kind"')
            self._filter.value = ""
            self._filter.on_value_change(self._other)

    def load(self, client: Client) -> PageOf[Event]:
        """Read the newest."""
        return client.devices.events(self._device_id, name=str(self._filter.value), limit=_SIZE)

    def show(self, newest: PageOf[Event]) -> None:
        """Show the newest, and those that were read before."""
        is_first = not self._kept
        is_gap = bool(newest.items) and not is_first and newest.items[-1].id not in self._kept
        if is_gap and len(newest.items) == _SIZE:  # more happened meanwhile than one page holds
            self._kept.clear()
            is_first = True
        if is_first:
            self._cursor = newest.next_cursor
        self._kept = {**{one.id: one for one in newest.items}, **self._kept}
        self._draw()

    def _draw(self) -> None:
        events = sorted(self._kept.values(), key=lambda one: one.id, reverse=True)
        self._timeline.show([entry(one) for one in events])
        self._timeline.set_visibility(bool(events))
        self._nothing.set_visibility(not events)
        self._more.set_visibility(self._cursor is not None and len(events) < _MOST)

    async def _other(self) -> None:
        self._kept.clear()
        self._cursor = None
        await self._refresh()

    async def _older(self) -> None:
        name, cursor = str(self._filter.value), self._cursor

        def read(client: Client) -> PageOf[Event]:
            return client.devices.events(self._device_id, name=name, limit=_SIZE, cursor=cursor)

        def show(older: PageOf[Event]) -> None:
            if name != self._filter.value:
                return  # somebody chose another kind meanwhile
            self._cursor = older.next_cursor
            self._kept |= {one.id: one for one in older.items}
            self._draw()

        await self._page.act(read, show)


def entry(happened: Event) -> Entry:
    """Give an event as an entry."""
    noun = happened.name.partition(".")[0]
    told = str(happened.data.get("state") or "")
    return Entry(
        id=happened.id,
        at=happened.at.isoformat(),
        name=happened.name,
        words=wording.event(happened),
        icon=_ICONS.get(noun, "event"),
        tone=_TONES.get(happened.name) or (tone_of(told) if told else Tone.WAIT),
        href=address(happened),
    )
