"""`/models`: the models that there are, and registering another."""

from datetime import UTC, datetime
from typing import Any, Final

from dashboard import format, recipes
from dashboard.components import form, table
from dashboard.components.layout import heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.model_form import ModelForm
from shoal.client import Client
from shoal.schemas.artifacts import Model
from shoal.schemas.common import Page as PageOf

_SIZE: Final = 50


def model_list(page: Page) -> None:
    """Draw the page."""
    _List(page).begin()


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = ModelForm(page)
        with heading("Models"):
            form.button("Register a model", self._form.open, test_id="new-model", is_primary=True)
        with section("", test_id="models"):
            self._table = Table(
                [
                    Column(name="name", label="Model", is_long=True),
                    Column(name="task", label="Task"),
                    Column(name="versions", label="Versions", is_number=True),
                    Column(name="input", label="Input", is_long=True),
                    Column(name="classes", label="Classes", is_number=True),
                    Column(name="licence", label="Licence"),
                    Column(name="made", label="Registered"),
                ],
                nothing="No model yet. Register one, then give it its first version.",
            )
            self._pager = Pager[Model](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[Model]:
        return client.models.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[Model]) -> None:
        now = datetime.now(UTC)
        self._table.show([model_row(shown, now) for shown in found.items])
        self._pager.show(found)


def model_row(shown: Model, now: datetime) -> dict[str, Any]:
    """Give a model as a row."""
    inputs = [recipes.tensor(spec) for spec in shown.signature.inputs] if shown.signature else []
    return {
        "id": shown.name,
        "name": table.link(shown.name, f"/models/{shown.name}"),
        "task": shown.task,
        "versions": format.count(shown.versions),
        "input": "; ".join(inputs),
        "classes": format.count(len(shown.class_labels)),
        "licence": shown.licence,
        "made": format.age(shown.created_at, now),
    }
