"""The dialog that changes the labels of all devices that a selector means: it says what would change before it does."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form
from dashboard.components.form import Form
from dashboard.components.layout import Region
from dashboard.page import Page
from dashboard.wording import Unreadable
from shoal.schemas.groups import LabelEdit, LabelEditResult


class LabelEditForm:
    """The dialog."""

    def __init__(self, page: Page, then: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._then = then
        self._seen: tuple[LabelEdit, LabelEditResult] | None = None
        self._form = Form("Labels of many devices", "Apply", self._apply, test_id="label-edit-form")
        self._form.allow(False)
        with self._form.fields():
            self._meant = ui.label("").classes("code mono").props('data-testid="label-edit-selector"')
            self._set = ui.textarea("Labels to set, one name=value a line").props("outlined autogrow").classes("mono")
            self._remove = ui.input("Labels to remove, separated by commas").props("outlined dense").classes("mono")
            preview = form.button("Preview", self._preview, test_id="preview")
            preview.style("align-self: flex-start")
            self._shown = Region()
        self._set.on_value_change(self._forget)
        self._remove.on_value_change(self._forget)
        self._selector = "all"

    def open(self, selector: str) -> None:
        """Show it for the devices that a selector means."""
        self._selector = selector
        self._meant.set_text(selector)
        self._set.value = self._remove.value = ""
        self._forget()
        self._form.open()

    def _forget(self) -> None:
        """What is typed now is another edit than the one that was looked at."""
        self._seen = None
        self._shown.show(None, lambda _: None)
        self._form.allow(False)

    def _edit(self) -> LabelEdit:
        edit = LabelEdit(
            selector=self._selector,
            set=wording.parse_labels(self._set.value or ""),
            remove=[name.strip() for name in (self._remove.value or "").split(",") if name.strip()],
        )
        if not edit.set and not edit.remove:
            raise Unreadable("Name a label to set or to remove.")
        return edit

    async def _preview(self) -> None:
        await self._form.attempt(self._ask)

    async def _ask(self) -> None:
        edit = self._edit()

        def seen(result: LabelEditResult) -> None:
            self._seen = (edit, result)
            self._shown.show(result, _draw_preview)
            self._form.allow(result.changed > 0)

        await self._page.act(lambda client: client.labels.preview(edit), seen, self._form.refuse)

    async def _apply(self) -> None:
        if self._seen is None:
            raise Unreadable("Look at the preview first.")
        edit, result = self._seen
        wanted = edit.model_copy(update={"expected": result.changed})

        def done(applied: LabelEditResult) -> None:
            self._form.close()
            ui.notify(f"{devices(applied.changed)} got other labels.")

        def refused(words: str) -> None:
            self._forget()  # the fleet changed meanwhile, perhaps: what was seen holds no more
            self._form.refuse(words)

        await self._page.act(lambda client: client.labels.apply(wanted), done, refused)
        await self._then()


def devices(count: int) -> str:
    """Say how many devices.

    >>> devices(1), devices(1204)
    ('1 device', '1,204 devices')
    """
    return f"{format.count(count)} device{'' if count == 1 else 's'}"


def preview_words(result: LabelEditResult) -> str:
    """Say what an edit would change.

    >>> preview_words(LabelEditResult(matched=12, changed=9, examples=[]))
    '12 devices are meant; 9 of them get other labels.'
    """
    if result.matched == 0:
        return "No device is meant."
    meant = f"{devices(result.matched)} {'is' if result.matched == 1 else 'are'} meant"
    if result.changed == 0:
        return f"{meant}; nothing would change."
    gets = "gets" if result.changed == 1 else "get"
    return f"{meant}; {format.count(result.changed)} of them {gets} other labels."


def _draw_preview(result: LabelEditResult | None) -> None:
    if result is None:
        return
    with ui.element("div").classes("preview").props('role="status" data-testid="preview-words"'):
        ui.label(preview_words(result)).classes("ask")
        if result.examples:
            more = result.changed - len(result.examples)
            ui.label(", ".join(result.examples) + (f" and {format.count(more)} more" if more > 0 else "")).classes(
                "mono words"
            )
