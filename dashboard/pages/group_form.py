"""The dialog in which a selector is saved under a name, or a saved one is changed."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from dashboard.components.form import Form
from dashboard.page import Page
from dashboard.pages.selector_input import SelectorInput
from shoal.schemas.groups import Group, GroupChange, GroupRequest


class GroupForm:
    """The dialog."""

    def __init__(self, page: Page, then: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._then = then
        self._changed = ""
        self._form = Form("Group", "Save", self._save, test_id="group-form")
        with self._form.fields():
            ui.label("Devices join and leave it by themselves, as what its selector asks for changes.").classes("words")
            self._name = ui.input("Name").props("outlined dense maxlength=64")
            self._input = SelectorInput(page, test_id="group-selector")
            self._description = ui.input("What it is for").props("outlined dense maxlength=512")

    def create(self, selector: str = "all") -> None:
        """Show it for a new group."""
        self._show("", selector, "")

    def change(self, group: Group) -> None:
        """Show it for a group that is there; its name stays."""
        self._show(group.name, group.selector, group.description)

    def _show(self, name: str, selector: str, description: str) -> None:
        self._changed = name
        self._name.value, self._description.value = name, description
        self._name.set_enabled(not name)
        self._input.put(selector)
        self._form.open()

    async def _save(self) -> None:
        selector, description = self._input.value(), (self._description.value or "").strip()

        def saved(group: Group) -> None:
            self._form.close()
            ui.notify(f"Group {group.name} is saved.")

        if self._changed:
            name, change = self._changed, GroupChange(selector=selector, description=description)
            await self._page.act(lambda client: client.groups.change(name, change), saved, self._form.refuse)
        else:
            request = GroupRequest(name=(self._name.value or "").strip(), selector=selector, description=description)
            await self._page.act(lambda client: client.groups.create(request), saved, self._form.refuse)
        await self._then()
