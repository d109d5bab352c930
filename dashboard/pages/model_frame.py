"""What the pages of one model share: the heading with the links between them, and which version is looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlencode

from nicegui import ui

from dashboard.components.layout import heading
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.artifacts import Version

_PAGES: Final = (
    ("Variants", ""),
    ("Lineage", "/lineage"),
    ("Fleet", "/fleet"),
    ("Boards", "/boards"),
)
VERSIONS: Final = 20


def asked_version(page: Page) -> int | None:
    """Give the number in the address' `?version=`, None where there is none."""
    asked = page.query.get("version", "")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None


@contextmanager
def model_heading(page: Page, name: str, here: str) -> Iterator[None]:
    """Draw the heading, and the links to the model's pages; `here`: the end of this one's address."""
    version = asked_version(page)
    query = f"?{urlencode({'version': version})}" if version is not None else ""
    with heading(name, under=[("Models", "/models")]):
        yield
    with ui.element("nav").classes("sub-pages").props(f'aria-label="Pages of {name}"'):
        for title, end in _PAGES:
            link = ui.link(title, f"/models/{name}{end}{query}").classes("here" if end == here else "")
            link.props('aria-current="page"' if end == here else "")


class VersionPicker:
    """A field that leads to the same page of another version."""

    def __init__(self, page: Page, address: str) -> None:
        self._page = page
        self._address = address
        self._shown: int | None = None
        self._field = ui.select({}, label="Version", on_change=self._go)
        self._field.props('outlined dense options-dense data-testid="version"').style("min-width: 130px")

    def show(self, versions: list[Version], chosen: Version | None) -> None:
        """Offer versions."""
        offered = {version.number: f"{version.number}: {version.source}, {version.state}" for version in versions}
        if chosen is not None:
            offered.setdefault(chosen.number, f"{chosen.number}: {chosen.source}")
        self._shown = chosen.number if chosen else None
        if offered != self._field.options or self._field.value != self._shown:
            self._field.set_options(offered, value=self._shown)

    def _go(self) -> None:
        if self._field.value is not None and self._field.value != self._shown:
            kept = {**self._page.query, "version": self._field.value}
            ui.navigate.to(f"{self._address}?{urlencode(kept)}")


def versions_of(client: Client, name: str, number: int | None) -> tuple[list[Version], Version | None]:
    """Give the newest versions of a model, and the one with a number, else the newest that has variants."""
    versions = client.models.list_versions(name, limit=VERSIONS).items
    if number is not None:
        return versions, client.models.show_version(name, number)
    with_variants = (version for version in versions if version.variants)
    return versions, next(with_variants, next(iter(versions), None))
