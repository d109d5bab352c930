"""The fields of the forms that build variants: the data sets by role, and the budget."""

from collections.abc import Iterable
from typing import Final

from nicegui import ui

from dashboard import format
from dashboard.components import form
from dashboard.page import Page
from dashboard.pages.selector_input import SelectorInput
from dashboard.wording import Unreadable
from shoal.schemas.artifacts import Dataset
from shoal.schemas.recipes import Budget

NEEDED: Final = ("calibration", "evaluation", "golden")
_ROLES: Final = (*NEEDED, "training")
_LABELS: Final = {
    "calibration": "For calibration",
    "evaluation": "For evaluation",
    "golden": "Golden",
    "training": "For training, if anything is",
}
_NONE: Final = "none"
_LIMIT: Final = 200


class DatasetFields:
    """A field for each role; at first with the newest that is named after the model, else the newest."""

    def __init__(self, page: Page, model: str) -> None:
        self._page = page
        self._model = model
        with ui.element("div").props('role="group" aria-label="Data sets"'):
            ui.label("Data sets").classes("field-title")
            with ui.element("div").classes("pairs"):
                self._fields = {role: form.select(_LABELS[role], {}) for role in _ROLES}
        for role, field in self._fields.items():
            field.props(f'data-testid="{role}-dataset"')

    async def load(self) -> list[str]:
        """Offer the data sets that there are; gives the roles without any."""
        found: list[Dataset] = []
        await self._page.act(lambda client: client.datasets.list(limit=_LIMIT), lambda page: found.extend(page.items))
        for role, field in self._fields.items():
            names = {one.name: f"{one.name} ({format.count(one.samples)})" for one in found if one.role == role}
            offered = names if role in NEEDED else {**names, _NONE: "none"}
            field.set_options(offered, value=field.value if field.value in offered else usual(offered, self._model))
        return [role for role in NEEDED if not self._fields[role].options]

    def value(self) -> dict[str, str]:
        """Give names by the fields of a request.

        Raises:
            Unreadable: One is missing.
        """
        if missing := [role for role in NEEDED if not self._fields[role].value]:
            raise Unreadable(f"Choose the data set for {' and '.join(missing)}.")
        chosen = {f"{role}_dataset": str(field.value) for role, field in self._fields.items()}
        return {name: value for name, value in chosen.items() if value not in (_NONE, "None")}


class BudgetFields:
    """What a variant may cost."""

    def __init__(self, page: Page) -> None:
        with ui.element("div").classes("side-by-side"):
            self._drop = form.number("Score may drop by, points", 2, least=0, most=100, step=0.1)
            self._drop.props('data-testid="budget-drop"')
            self._size = _optional("Size at most, KiB").props('data-testid="budget-size"')
            self._latency = _optional("Latency at most, ms").props('data-testid="budget-latency"')
        words = "Latency on these devices, by their profiles; as measured here where none are named"
        ui.label(words).classes("field-title")
        self._selector = SelectorInput(page, label=words, value="", test_id="budget-selector", is_search=True)

    def value(self) -> Budget:
        """Give the budget.

        Raises:
            Unreadable: The drop is missing.
        """
        size, latency = self._size.value, self._latency.value
        return Budget(
            max_accuracy_drop=form.wanted_number(self._drop) / 100,
            max_size_bytes=None if size is None else round(float(size) * 1024),
            max_latency_ms=None if latency is None else float(latency),
            selector=self._selector.text or None,
        )

    def put(self, budget: Budget) -> None:
        """Fill in a budget."""
        self._drop.value = round(budget.max_accuracy_drop * 100, 4)
        self._size.value = None if budget.max_size_bytes is None else budget.max_size_bytes / 1024
        self._latency.value = budget.max_latency_ms
        self._selector.put(budget.selector or "")


def usual(names: Iterable[str], model: str) -> str | None:
    """Give the data set that is likely meant, of the newest first.

    >>> usual(["other", "digits-heldout", "digits-old"], "digits"), usual(["other"], "digits"), usual([], "digits")
    ('digits-heldout', 'other', None)
    """
    offered = list(names)
    return next((name for name in offered if name.startswith(model)), next(iter(offered), None))


def without_words(roles: list[str]) -> str:
    """Say that data sets are missing.

    >>> without_words(["golden"])
    'There is no data set for golden yet: upload one on the page Data sets.'
    """
    return f"There is no data set for {' and '.join(roles)} yet: upload one on the page Data sets." if roles else ""


def _optional(label: str) -> ui.number:
    return ui.number(label, value=None, min=0).props("outlined dense clearable")
