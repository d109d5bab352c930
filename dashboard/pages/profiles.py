"""What devices measured of a version's variants, as rows; and the form that has some measure."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.form import Form
from dashboard.page import Page
from dashboard.pages.selector_input import SelectorInput
from shoal.schemas.profiles import Profile, ProfileRequest, Profiling


class ProfileForm:
    """Asks which devices shall measure. `refresh`: awaited after a change."""

    def __init__(self, page: Page, name: str, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._name = name
        self._refresh = refresh
        self._version = 0
        self._form = Form("Measure on devices", "Measure", self._send, test_id="profile-form")
        with self._form.fields():
            self._words = ui.label("").classes("words")
            self._selector = SelectorInput(page, test_id="profile-selector")
            with ui.element("div").classes("side-by-side"):
                self._devices = form.number("Devices of each hardware (0: all)", 1, least=0, most=100_000)
                self._runs = form.number("Inferences each", 200, least=10, most=10_000)

    def open(self, version: int, selector: str) -> None:
        """Show it for a version."""
        self._version = version
        self._words.set_text(f"Devices run every variant of {self._name}/{version} that they can, beside what serves.")
        self._selector.put(selector)
        self._form.open()

    async def _send(self) -> None:
        request = ProfileRequest(
            model=self._name,
            version=self._version,
            selector=self._selector.value(),
            devices_per_class=round(form.wanted_number(self._devices)),
            runs=round(form.wanted_number(self._runs)),
        )

        def begun(made: Profiling) -> None:
            self._form.close()
            ui.notify(f"{format.count(sum(made.executions.values()))} measurements were asked for.")

        await self._page.act(lambda client: client.profiles.create(request), begun, self._form.refuse)
        await self._refresh()


def profile_row(one: Profile, now: datetime) -> dict[str, Any]:
    """Give what a hardware class makes of a variant as a row."""
    golden = one.figures.get("golden")
    agreement = golden.get("agreement") if isinstance(golden, dict) else None

    def of(name: str) -> float | None:
        value = one.figures.get(name)
        return float(value) if isinstance(value, int | float) else None

    memory, energy = of("peak_memory_bytes"), of("energy_j")
    return {
        "id": one.id,
        "hardware": table.noted(one.hardware, one.hardware_class),
        "recipe": table.noted(one.recipe, wording.runtime(one.runtime)),
        "golden": table.state("passed" if one.passed else "failed", note=f"agreement {format.ratio(agreement)}"),
        "p50": format.milliseconds(of("latency_p50_ms")),
        "p95": format.milliseconds(of("latency_p95_ms")),
        "memory": format.size(None if memory is None else int(memory)),
        "energy": "" if energy is None else f"{energy * 1000:.3g} mJ",
        "device": table.link(one.device_id, f"/devices/{one.device_id}"),
        "at": format.age(one.measured_at, now),
    }


def request_row(one: Profiling, now: datetime) -> dict[str, Any]:
    """Give a request to measure as a row."""
    return {
        "id": one.id,
        "version": f"{one.model}/{one.version}",
        "selector": wording.selector(one.selector),
        "executions": ", ".join(
            f"{count} {state.replace('_', ' ')}" for state, count in sorted(one.executions.items())
        ),
        "at": table.noted(format.age(one.created_at, now), f"by {one.created_by}"),
    }
