"""Choosing a model and one of its versions, as the forms of rollouts and federated runs do."""

from collections.abc import Mapping

from nicegui import ui

from dashboard import format
from dashboard.components import form
from dashboard.page import Page
from dashboard.wording import Unreadable
from shoal.client import Client
from shoal.schemas.artifacts import Model, Version
from shoal.schemas.common import Page as PageOf

_LIMIT = 200


class VersionInput:
    """Two fields that belong together. `wanted`: `model` and `version` to begin with, as from an address."""

    def __init__(self, page: Page, wanted: Mapping[str, str], *, only_with_variants: bool) -> None:
        self._page = page
        self._wanted = wanted
        self._only_with_variants = only_with_variants
        with ui.element("div").classes("side-by-side"):
            self._model = form.select("Model", {}, on_change=self._load_versions).props('data-testid="model"')
            self._version = form.select("Version", {}).props('data-testid="version"')

    def value(self) -> tuple[str, int]:
        """Give what was chosen.

        Raises:
            Unreadable: Nothing was.
        """
        if not self._model.value or not self._version.value:
            raise Unreadable("Choose a model and a version.")
        return self._model.value, self._version.value

    async def load(self) -> bool:
        """Offer the models that there are; tells whether that worked."""
        found: list[PageOf[Model]] = []
        await self._page.act(lambda client: client.models.list(limit=_LIMIT), found.append)
        if not found:
            return False
        names = [model.name for model in found[0].items]
        wanted = self._model.value or self._wanted.get("model")
        self._model.set_options(names, value=wanted if wanted in names else next(iter(names), None))
        return True

    async def _load_versions(self) -> None:
        name = self._model.value
        if not name:
            return

        def load(client: Client) -> PageOf[Version]:
            return client.models.list_versions(name, limit=_LIMIT)

        def offer(found: PageOf[Version]) -> None:
            if name == self._model.value:  # nobody chose another meanwhile
                self._offer(found)

        await self._page.act(load, offer)

    def _offer(self, found: PageOf[Version]) -> None:
        offered = {
            version.number: f"{version.number}: {version.source}, {format.count(version.variants)} variants"
            for version in found.items
            if version.variants or not self._only_with_variants
        }
        wanted = self._wanted.get("version", "")
        chosen = int(wanted) if wanted.isdigit() and int(wanted) in offered else next(iter(offered), None)
        self._version.set_options(offered, value=chosen)
