"""The box of machines that wait for approval; nothing where none does."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from nicegui import ui

from dashboard import format
from dashboard.components import form
from dashboard.pages.identity import Acts, host
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import Device

SIZE: Final = 20
_SHORT: Final = 12


class _Line:
    """One machine. It is drawn once and its words change, so that a button stays under the pointer."""

    def __init__(self, machine: Device, acts: Acts) -> None:
        self.machine = machine
        with ui.element("div").classes("line").props(f'data-testid="pending-{machine.id}"') as self.box:
            self.mark = ui.checkbox().props(f'dense aria-label="Select {_attribute(host(machine))}"')
            with ui.element("div"):
                ui.link(host(machine), f"/devices/{machine.id}").classes("host")
                with ui.element("div").classes("note"):
                    self._words = ui.label("")
                    if machine.claims_device_id:
                        with ui.element("div").classes("likeness"):
                            ui.label("looks like")
                            ui.link(machine.claims_device_id, f"/devices/{machine.claims_device_id}").classes("mono")
            with ui.element("div").classes("actions"):
                known = machine.claims_device_id
                if known:
                    form.button(f"Merge with {known}", lambda: acts.merge(machine), test_id="merge", is_primary=True)
                form.button("Approve", lambda: acts.approve([machine]), test_id="approve", is_primary=not known)
                form.button("Turn away", lambda: acts.turn_away(machine), test_id="turn-away")

    def show(self, now: datetime) -> None:
        self._words.set_text(pending_words(self.machine, now))


class PendingBox:
    """The box on top of the devices."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._lines: dict[str, _Line] = {}
        with ui.element("section").classes("box pending").props('data-testid="pending"') as self._box:
            with ui.element("div").classes("box-head"):
                ui.label("Waiting for approval").classes("box-title").props('role="heading" aria-level="2"')
                self._count = ui.label("").classes("hint")
                ui.element("div").classes("grow")
                with ui.element("div").classes("actions") as self._several:
                    self._select = form.button("Select all", self._mark_all, test_id="select-all")
                    self._approve = form.button("Approve selected", self._approve_marked, test_id="approve-selected")
            self._place = ui.element("div").classes("lines")
            self._more = ui.label("").classes("more words")
        self._box.set_visibility(False)

    def show(self, found: PageOf[Device]) -> None:
        """Show the machines that wait."""
        wanted = {machine.id: machine for machine in found.items}
        for gone in [known for known, line in self._lines.items() if wanted.get(known) != line.machine]:
            self._lines.pop(gone).box.delete()
        for machine in wanted.values():
            if machine.id not in self._lines:
                with self._place:
                    self._lines[machine.id] = _Line(machine, self._acts)
                self._lines[machine.id].mark.on_value_change(self._count_marked)
        for line in self._lines.values():
            line.show(datetime.now(UTC))
        total = found.total if found.total is not None else len(wanted)
        self._count.set_text(f"{format.count(total)} machine{'s' if total != 1 else ''}")
        hidden = total - len(wanted)
        self._more.set_text(f"{format.count(hidden)} more follow when these are decided." if hidden > 0 else "")
        self._more.set_visibility(hidden > 0)
        self._box.set_visibility(bool(wanted))
        self._several.set_visibility(len(wanted) > 1)
        self._count_marked()

    def _marked(self) -> Sequence[Device]:
        return [line.machine for line in self._lines.values() if line.mark.value]

    def _mark_all(self) -> None:
        is_wanted = not self._is_all_marked()
        for line in self._lines.values():
            line.mark.value = is_wanted

    def _is_all_marked(self) -> bool:
        return len(self._marked()) == len(self._lines)

    def _count_marked(self) -> None:
        count = len(self._marked())
        self._approve.set_text(f"Approve {count} selected" if count else "Approve selected")
        self._approve.set_enabled(count > 0)
        self._select.set_text("Select none" if self._is_all_marked() else "Select all")

    def _approve_marked(self) -> None:
        self._acts.approve(self._marked())


def pending_words(machine: Device, now: datetime) -> str:
    """Say what is known of a machine that waits.

    The same machine is told by its hardware, and by nothing else that it says of itself.
    """
    facts = machine.facts
    hardware = f"hardware {machine.hardware_id[:_SHORT]}…" if machine.hardware_id else "hardware not told"
    kind = " ".join(str(facts[name]) for name in ("system", "machine") if facts.get(name))
    asked = f"asked {format.age(machine.enrolled_at, now)}"
    return ", ".join(part for part in (machine.id, hardware, kind, asked) if part)


def _attribute(text: str) -> str:
    return text.replace('"', "'")[:64]
