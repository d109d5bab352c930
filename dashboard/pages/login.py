"""`/login`: a plain form, so that password managers know it; it is answered by `dashboard.app`."""

from typing import Final

from nicegui import ui

_REASONS: Final = {
    "wrong_password": "Name or password is wrong.",
    "unreachable": "The controller does not answer. Is it running?",
    "refused": "The controller refused the login; its log says why.",
    "other_site": "The login came from another site and was refused.",
    "ended": "Your session has ended. Log in again.",
    "logged_out": "You are logged out.",
}
_TOLD: Final = frozenset({"ended", "logged_out"})


def local_path(wanted: str) -> str:
    """Give where to go after the login: a page of this dashboard, whatever a link says.

    >>> local_path("/devices?q=a"), local_path("https://example.org"), local_path("//example.org"), local_path("")
    ('/devices?q=a', '/', '/', '/')
    """
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_local and wanted.isprintable() and wanted.isascii() else "/"


def login(api_url: str, reason: str, wanted: str) -> None:
    """Draw the page."""
    with (
        ui.element("div").classes("login"),
        ui.element("form").props('method="post" action="/login" data-testid="login"'),
    ):
        with ui.element("div").classes("brand"):
            ui.icon("sailing")
            ui.label("Shoal")
        if words := _REASONS.get(reason):
            kind = "told" if reason in _TOLD else "refusal"
            ui.label(words).classes(kind).props('role="alert" data-testid="reason"')
        hidden = ui.element("input").props('type="hidden" name="next"')
        hidden.props["value"] = wanted
        name = ui.input("Name").props('outlined dense autofocus name="username" autocomplete="username" required')
        name.props('data-testid="username"')
        secret = ui.input("Password").props('outlined dense type="password" name="password" required')
        secret.props('autocomplete="current-password" data-testid="password"')
        ui.button("Log in", color=None).props('type="submit" unelevated no-caps data-testid="log-in"').classes(
            "primary"
        )
        ui.label(api_url).classes("where")
