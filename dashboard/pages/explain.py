"""`/explain`: which variant a device would get of a version, every candidate, and why it is the one or is not."""

from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.layout import Facts, Notice, empty, heading, section
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.version_input import VersionInput
from dashboard.wording import Unreadable
from shoal.client import Client
from shoal.schemas.devices import Device
from shoal.schemas.profiles import Candidate, Explanation

_LIMIT: Final = 200
_EVERY_S: Final = 5.0
_SOURCES: Final = {"profile": "measured by this hardware", "estimate": "estimated", "none": "nothing is known"}


def explain(page: Page) -> None:
    """Draw the page; `?device=`, `?model=` and `?version=` say what of, and are asked for."""
    _View(page).begin()


class _View:
    def __init__(self, page: Page) -> None:
        self._page = page
        query = page.query
        version = query.get("version", "")
        number = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else None
        self._asked = (query["model"], number, query["device"]) if query.get("model") and query.get("device") else None
        with heading("Which variant would a device get?"):
            pass
        with section("", test_id="explain-form"), ui.element("div").classes("ask-row"):
            self._version = VersionInput(page, query, only_with_variants=True)
            self._device = form.select("Device", {}).props(
                'use-input hide-selected fill-input input-debounce=200 data-testid="device"'
            )
            form.button("Explain", self._go, test_id="submit-explain", is_primary=True)
            self._refusal = Notice(test_id="explain-refusal")
        with section("Answer", test_id="explanation"):
            self._facts = Facts()
            self._candidates = Table(
                [
                    Column(name="recipe", label="Candidate"),
                    Column(name="code", label="Verdict"),
                    Column(name="reason", label="Because", is_long=True),
                    Column(name="latency", label="p50 there", is_number=True),
                    Column(name="source", label="Known by"),
                    Column(name="size", label="Size", is_number=True),
                    Column(name="accuracy", label="Score", is_number=True),
                ],
                nothing="This version has no variant yet. Compress it first.",
                test_id="candidate-table",
            )
            self._hint = empty("Choose a device and a version of a model.", icon="help_outline")
        ui.timer(0.05, self._offer, once=True)

    def begin(self) -> None:
        self._page.live(self._load, self._show, every_s=_EVERY_S)

    def _load(self, client: Client) -> Explanation | None:
        if self._asked is None:
            return None
        model, number, device = self._asked
        if number is None:
            versions = client.models.list_versions(model, limit=_LIMIT).items
            number = next((one.number for one in versions if one.variants), versions[0].number if versions else 1)
        return client.profiles.explain(model, number, device)

    def _show(self, found: Explanation | None) -> None:
        self._hint.set_visibility(found is None)
        if found is None:
            self._candidates.hide()
            return
        self._facts.show(explanation_facts(found))
        self._candidates.show([candidate_row(one) for one in found.candidates])

    async def _offer(self) -> None:
        await self._version.load()

        def offer(devices: list[Device]) -> None:
            names = {one.id: device_name(one) for one in devices}
            wanted = self._page.query.get("device", "")
            if wanted:
                names.setdefault(wanted, wanted)
            self._device.set_options(names, value=wanted or next(iter(names), None))

        await self._page.act(lambda client: client.devices.list(limit=_LIMIT).items, offer)

    def _go(self) -> None:
        try:
            model, number = self._version.value()
        except Unreadable as error:
            self._refusal.show(str(error))
            return
        if not self._device.value:
            self._refusal.show("Choose a device.")
            return
        ui.navigate.to(f"/explain?{urlencode({'model': model, 'version': number, 'device': self._device.value})}")


def device_name(device: Device) -> str:
    """Say which device it is."""
    told = [str(device.facts[name]) for name in ("hostname", "board") if device.facts.get(name)]
    return f"{device.id} ({', '.join(told)})" if told else device.id


def explanation_facts(found: Explanation) -> list[tuple[str, Any]]:
    """Say what was explained, and what it comes to."""
    chosen = next((one for one in found.candidates if one.variant_id == found.chosen), None)
    named = f"{chosen.recipe} for {wording.runtime(chosen.runtime)}" if chosen else "none: nothing of it can run there"
    return [
        ("It gets", named),
        ("Of", f"{found.model}/{found.version}"),
        ("Device", found.device_id),
        ("Hardware", f"{found.hardware} (class {found.hardware_class})"),
    ]


def candidate_row(one: Candidate) -> dict[str, Any]:
    """Give a candidate as a row."""
    word = one.code if one.code in ("chosen", "worse") else "out"
    return {
        "id": one.variant_id,
        "recipe": table.noted(one.recipe, wording.runtime(one.runtime)),
        "code": table.state(word, note="" if word == one.code else one.code),
        "reason": one.reason,
        "latency": format.milliseconds(one.latency_p50_ms),
        "source": _SOURCES[one.source],
        "size": format.size(one.size_bytes),
        "accuracy": format.ratio(one.accuracy),
    }
