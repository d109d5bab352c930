"""Dialogs in which something is started, and inputs that several of them have."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui
from pydantic import ValidationError

from dashboard import wording
from dashboard.wording import Unreadable


class Form:
    """A dialog with fields, drawn inside `with form.fields():`. A refusal stays in it, so that it can be mended."""

    def __init__(self, title: str, submit: str, on_submit: Callable[[], Awaitable[None]], *, test_id: str) -> None:
        self._on_submit = on_submit
        with ui.dialog() as self._dialog, ui.card().classes("form").props(f'data-testid="{test_id}"'):
            self._title = ui.label(title).classes("form-title")
            self._fields = ui.column().style("align-items: stretch; gap: 10px")
            self._refusal = ui.label("").classes("refusal").props('role="alert" data-testid="refusal"')
            with ui.element("div").classes("buttons"):
                ui.button("Close", on_click=self._dialog.close, color=None).props("flat no-caps").classes("quiet")
                self._submit = (
                    ui.button(submit, on_click=self._send, color=None).props("unelevated no-caps").classes("primary")
                )
                self._submit.props('data-testid="submit"')
        self._refusal.set_visibility(False)
        self._is_allowed = True

    def fields(self) -> ui.column:
        """Give where the fields are drawn."""
        return self._fields

    def entitle(self, title: str, submit: str) -> None:
        """Say what it is for now, where it serves for two things."""
        self._title.set_text(title)
        self._submit.set_text(submit)

    def open(self) -> None:
        """Show it."""
        self.refuse("")
        self._dialog.open()

    def close(self) -> None:
        """Hide it."""
        self._dialog.close()

    def refuse(self, words: str) -> None:
        """Say why it was not done; nothing takes it back."""
        self._refusal.set_text(words)
        self._refusal.set_visibility(bool(words))

    def allow(self, is_allowed: bool) -> None:
        """Say whether it can be sent as it is."""
        self._is_allowed = is_allowed
        self._submit.set_enabled(is_allowed)

    async def attempt(self, what: Callable[[], Awaitable[None]]) -> None:
        """Do something with what the fields hold; what cannot be read is said."""
        self.refuse("")
        try:
            await what()
        except Unreadable as error:
            self.refuse(str(error))
        except ValidationError as error:
            self.refuse(wording.invalid(error))

    async def _send(self) -> None:
        self._submit.disable()
        try:
            await self.attempt(self._on_submit)
        finally:
            self._submit.set_enabled(self._is_allowed)


def confirm(
    question: str, yes: str, on_yes: Callable[[], Awaitable[None]], *, no: str = "Keep it", is_grave: bool = True
) -> ui.dialog:
    """Give a dialog that asks before something is done, each of the question's lines a paragraph.

    Args:
        is_grave: It cannot be taken back.
    """
    with ui.dialog() as dialog, ui.card().classes("form").props('data-testid="confirm"'):
        for number, line in enumerate(question.splitlines()):
            ui.label(line).classes("words" if number else "ask")

        async def agreed() -> None:
            dialog.close()
            await on_yes()

        with ui.element("div").classes("buttons"):
            ui.button(no, on_click=dialog.close, color=None).props("flat no-caps").classes("quiet")
            agree = ui.button(yes, on_click=agreed, color=None).props('no-caps data-testid="yes"')
            agree.props("flat" if is_grave else "unelevated").classes("danger" if is_grave else "primary")
    return dialog


def select(
    label: str, options: dict[Any, str] | list[str], *, on_change: Callable[..., Any] | None = None
) -> ui.select:
    """Give a field to choose from a list."""
    return ui.select(options, label=label, on_change=on_change).props("outlined dense options-dense")


def number(label: str, value: float, *, least: float, most: float, step: float = 1, suffix: str = "") -> ui.number:
    """Give a field for a bounded number."""
    field = ui.number(label, value=value, min=least, max=most, step=step, suffix=suffix)
    return field.props("outlined dense")


def wanted_number(field: ui.number) -> float:
    """Give what a number field holds.

    Raises:
        Unreadable: It is empty.
    """
    if field.value is None:
        raise Unreadable(f"{field.props['label']} is missing.")
    return float(field.value)


def button(text: str, on_click: Callable[..., Any], *, test_id: str, is_primary: bool = False) -> ui.button:
    """Give a button for a page or a box."""
    # Without a colour, as Quasar's own colour classes are stronger than any style sheet.
    shown = ui.button(text, on_click=on_click, color=None).props(f'unelevated no-caps data-testid="{test_id}"')
    return shown.classes("primary" if is_primary else "plain")
