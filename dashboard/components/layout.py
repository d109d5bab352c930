"""The frame around every page (navigation, who is logged in, banner) and the boxes in it."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

from nicegui import ui

T = TypeVar("T")
NAVIGATION: Final = (
    ("Fleet", "/", "space_dashboard"),
    ("Devices", "/devices", "memory"),
    ("Groups", "/groups", "group_work"),
    ("Alerts", "/alerts", "notifications"),
    ("Models", "/models", "hub"),
    ("Data sets", "/datasets", "dataset"),
    ("Rollouts", "/rollouts", "rocket_launch"),
    ("Federated runs", "/federated-runs", "diversity_2"),
    ("Learning alone", "/incremental", "model_training"),
    ("Executions", "/executions", "checklist"),
    ("Jobs", "/jobs", "construction"),
    ("Enrolment", "/enrollment-tokens", "key"),
    ("Activity", "/activity", "history"),
)


class Frame:
    """The frame around a page. Its content is drawn inside `content()`, and shown from the first data on."""

    def __init__(self, *, here: str, username: str, role: str, log_out: Callable[[], Any]) -> None:
        with ui.header().classes("top"):
            menu = (
                ui.button(icon="menu", color=None)
                .props('flat round dense aria-label="Navigation"')
                .classes("menu-button")
            )
            with ui.link(target="/").classes("brand"):
                ui.icon("sailing")
                ui.label("Shoal")
            ui.element("div").classes("grow")
            ui.icon("account_circle").classes("faint")
            ui.label(username).classes("who").props('data-testid="who"').tooltip(f"role: {role}")
            out = ui.button("Log out", on_click=log_out, color=None).props("flat dense no-caps").classes("quiet")
            out.props('data-testid="log-out"')
        drawer = ui.left_drawer(value=False).props("width=208 breakpoint=900 show-if-above").classes("side")
        with drawer, ui.element("nav").props('aria-label="Pages"'):
            for name, target, icon in NAVIGATION:
                is_here = target == here or (target != "/" and here.startswith(f"{target}/"))
                with ui.link(target=target).classes("here" if is_here else "") as entry:
                    entry.props('aria-current="page"' if is_here else "")
                    ui.icon(icon)
                    ui.label(name)
        menu.on_click(drawer.toggle)
        with ui.element("div").classes("page"):
            self._banner = ui.element("div").classes("banner").props('role="alert" data-testid="banner"')
            with self._banner:
                ui.icon("cloud_off")
                self._words = ui.label("")
            self._banner.set_visibility(False)
            self._loading = ui.element("div").classes("loading")
            with self._loading:
                ui.spinner(size="28px")
            self._content = ui.element("div").classes("content").props('data-testid="content"')
            self._content.set_visibility(False)

    def content(self) -> ui.element:
        """Give where the page is drawn."""
        return self._content

    def warn(self, words: str) -> None:
        """Say above the page what keeps it from being up to date."""
        self._words.set_text(words)
        self._banner.set_visibility(True)
        self._content.classes(add="stale")

    def calm(self) -> None:
        """All is well: show the content, take the banner away."""
        self._banner.set_visibility(False)
        self._loading.set_visibility(False)
        self._content.set_visibility(True)
        self._content.classes(remove="stale")

    def missing(self, words: str) -> None:
        """Say that what the address names is not there."""
        self.calm()
        self._content.clear()
        with self._content:
            empty(words, icon="search_off")


class Region:
    """A part of a page that is drawn anew when its data changed, and left alone otherwise."""

    def __init__(self, classes: str = "") -> None:
        self._box = ui.element("div").classes(classes)
        self._shown: Any = None

    def show(self, data: T, draw: Callable[[T], object]) -> None:
        """Draw `data`."""
        if data == self._shown:
            return
        self._shown = data
        self._box.clear()
        with self._box:
            draw(data)


class Notice:
    """A line in place of what could not be shown, or an alarm; nothing where all is well."""

    def __init__(self, *, is_alarm: bool = False, test_id: str = "") -> None:
        self._label = ui.label("").classes("notice alarm" if is_alarm else "notice")
        self._label.props('role="alert"' if is_alarm else 'role="status"')
        if test_id:
            self._label.props(f'data-testid="{test_id}"')
        self._label.set_visibility(False)

    def show(self, words: str) -> None:
        """Say something, or nothing."""
        self._label.set_text(words)
        self._label.set_visibility(bool(words))


class Figure:
    """A number with its name."""

    def __init__(self, name: str, *, href: str = "", test_id: str = "") -> None:
        with ui.link(target=href) if href else ui.element("div") as box:
            box.classes("figure")
            ui.label(name).classes("name")
            self._value = ui.label("–").classes("value")
            self._note = ui.label("").classes("note")
            if test_id:
                self._value.props(f'data-testid="{test_id}"')

    def show(self, value: str, note: str = "") -> None:
        """Show a value and what is to be said about it."""
        self._value.set_text(value)
        self._note.set_text(note)


class Anchor(NamedTuple):
    """A fact that leads somewhere."""

    text: str
    href: str


class Facts:
    """Names and values, one a line."""

    def __init__(self) -> None:
        self._region = Region("facts")

    def show(self, facts: Sequence[tuple[str, Hashable]]) -> None:
        """Show `(name, value)`, a value being a text, a number or an `Anchor`; absent values are left out."""
        self._region.show([(name, value) for name, value in facts if value not in (None, "")], _draw_facts)


def _draw_facts(facts: list[tuple[str, Hashable]]) -> None:
    for name, value in facts:
        ui.label(name).classes("name")
        if isinstance(value, Anchor):
            ui.link(value.text, value.href).classes("value")
        else:
            ui.label(str(value)).classes("value")


@contextmanager
def heading(title: str, *, under: Sequence[tuple[str, str]] = ()) -> Iterator[None]:
    """Draw a page's title; what is drawn inside stands at its right. `under`: `(name, address)` of the pages above."""
    with ui.element("div").classes("heading"):
        with ui.element("div").classes("titles"):
            for name, target in under:
                ui.link(name, target).classes("above")
                ui.label("/").classes("faint")
            ui.label(title).classes("title").props('role="heading" aria-level="1"')
        with ui.element("div").classes("actions"):
            yield


@contextmanager
def section(title: str, *, test_id: str = "", hint: str = "", wide: bool = False) -> Iterator[ui.element]:
    """Draw a box with a title; gives the place for buttons at the title's right."""
    with ui.element("section").classes("box wide" if wide else "box") as box:
        if test_id:
            box.props(f'data-testid="{test_id}"')
        with ui.element("div").classes("box-head" if title else "box-head untitled"):
            ui.label(title).classes("box-title").props('role="heading" aria-level="2"')
            if hint:
                ui.label(hint).classes("hint")
            ui.element("div").classes("grow")
            actions = ui.element("div").classes("actions")
        yield actions


def grid(classes: str = "two") -> ui.element:
    """Give boxes side by side, below each other where there is no room."""
    return ui.element("div").classes(f"grid {classes}")


def empty(words: str, *, icon: str = "inbox") -> ui.element:
    """Say that there is nothing yet, and what to do."""
    with ui.element("div").classes("empty") as box:
        ui.icon(icon)
        ui.label(words)
    return box
