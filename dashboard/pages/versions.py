"""The versions of a model: where each comes from, whether it may be used, and what becomes of one that was refused."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.layout import section
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.artifacts import Version
from shoal.schemas.jobs import Job

_INSPECT: Final = "Look again"
_DELETE: Final = "Delete"


class VersionBox:
    """The box. `refresh`: awaited after a change."""

    def __init__(self, page: Page, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._refresh = refresh
        self._shown: dict[str, Version] = {}
        with section("Versions", hint="newest first; choose one to see its variants", test_id="versions"):
            self._table = Table(
                [
                    Column(name="number", label="Version"),
                    Column(name="source", label="Source"),
                    Column(name="state", label="State", is_long=True),
                    Column(name="lineage", label="Comes from", is_long=True),
                    Column(name="evaluations", label="Evaluations", is_long=True),
                    Column(name="variants", label="Variants", is_number=True),
                    Column(name="weights", label="Weights"),
                    Column(name="made", label="Made"),
                    Column(name="act", label="Actions"),
                ],
                nothing="This model has no version yet. Give it one: an exported program, or a ready-made file.",
                test_id="version-table",
                on_act=self._act,
            )

    def show(self, versions: list[Version], chosen: Version | None, now: datetime) -> None:
        """Show versions."""
        self._shown = {version.id: version for version in versions}
        self._table.show([version_row(version, version == chosen, now) for version in versions])

    async def _act(self, version_id: str, what: str) -> None:
        version = self._shown.get(version_id)
        if version is None:
            return
        name = f"{version.model}/{version.number}"
        if what == _INSPECT:

            def inspect(client: Client) -> Job:
                return client.models.inspect(version.model, version.number)

            await self._page.act(inspect, lambda job: ui.navigate.to(f"/jobs/{job.id}"))
            return

        async def delete() -> None:
            def done(_: None) -> None:
                ui.notify(f"{name} is deleted.")

            await self._page.act(lambda client: client.models.delete_version(version.model, version.number), done)
            await self._refresh()

        form.confirm(f"Delete {name}?\nRefused while anything depends on it.", "Delete", delete).open()


def version_row(version: Version, is_chosen: bool, now: datetime) -> dict[str, Any]:
    """Give a version as a row."""
    results = [f"{found.dataset} {format.ratio(found.accuracy)}" for found in version.evaluations]
    digest = version.weights or version.file or ""
    more = [_INSPECT] if version.state == "refused" else []
    return {
        "id": version.id,
        "number": table.link(
            f"version {version.number}",
            f"/models/{version.model}?version={version.number}",
            note="shown below" if is_chosen else "",
        ),
        "source": version.source if version.format == "program" else f"{version.source}, {version.format}",
        "state": table.state(version.state, note=f"{version.message} [{version.code}]" if version.code else ""),
        "lineage": _lineage(version),
        "evaluations": ", ".join(results),
        "variants": format.count(version.variants),
        "weights": table.mono(digest[:12], title=digest),
        "made": table.noted(format.age(version.created_at, now), f"by {version.created_by}"),
        "act": table.actions(*more, grave=_DELETE, of=f"{version.model}/{version.number}"),
    }


def _lineage(version: Version) -> table.Cell:
    words, run_id, device_id = wording.lineage(version), version.lineage.get("run"), version.lineage.get("device")
    if run_id:
        return table.link(words, f"/federated-runs/{run_id}")
    return table.link(words, f"/devices/{device_id}") if device_id else words
