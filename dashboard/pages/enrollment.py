"""`/enrollment-tokens`: let machines become devices."""

from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.form import Form
from dashboard.components.layout import heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import EnrollmentToken, EnrollmentTokenRequest, NewEnrollmentToken

_SIZE: Final = 50
_HOUR_S: Final = 3600


def token_list(page: Page) -> None:
    """Draw the page."""
    _List(page).begin()


def token_state(token: EnrollmentToken, now: datetime) -> str:
    """Say whether a token still enrols anybody."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at <= now:
        return "expired"
    return "used up" if token.uses >= token.max_uses else "active"


def agent_lines(made: NewEnrollmentToken) -> str:
    """Give what an agent needs in its environment, and how it is started."""
    return (
        f"export SHOAL_AGENT_CONTROLLER_URL={made.device_url}\nexport SHOAL_AGENT_TOKEN={made.token}\nshoal-agent run"
    )


def service_lines(made: NewEnrollmentToken) -> str:
    """Give how an agent is made a service that starts with its machine."""
    return f"echo {made.token} > token\nsudo shoal-agent install --controller-url {made.device_url} --token-file token"


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        with heading("Enrolment"):
            form.button("New token", self._open, test_id="new-token", is_primary=True)
        with section("Tokens", hint="a token lets machines enrol themselves", test_id="tokens"):
            self._table = Table(
                [
                    Column(name="name", label="Name"),
                    Column(name="state", label="State"),
                    Column(name="approval", label="Approval"),
                    Column(name="uses", label="Used", is_number=True),
                    Column(name="labels", label="Labels of its devices"),
                    Column(name="made", label="Made"),
                    Column(name="ends", label="Ends"),
                    Column(name="revoke", label=""),
                ],
                nothing="No token yet. Make one, and start an agent with it: the machine becomes a device.",
                test_id="token-table",
                on_act=self._ask_to_revoke,
            )
            self._pager = Pager[EnrollmentToken](size=_SIZE, on_move=self._refresh)
        self._draw_form()
        with ui.dialog() as self._made, ui.card().classes("form").props('data-testid="made-token"'):
            self._made_content = ui.column().style("align-items: stretch; gap: 10px")

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[EnrollmentToken]:
        return client.enrollment_tokens.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[EnrollmentToken]) -> None:
        now = datetime.now(UTC)
        self._table.show([_row(token, now) for token in found.items])
        self._pager.show(found)

    def _draw_form(self) -> None:
        self._form = Form("New enrolment token", "Make it", self._make, test_id="token-form")
        with self._form.fields():
            self._name = ui.input("Name").props("outlined dense")
            with ui.element("div").classes("side-by-side"):
                self._uses = form.number("Devices", 1, least=1, most=1_000_000)
                self._hours = form.number("Ends after", 24, least=1, most=366 * 24, suffix="h")
            self._labels = ui.textarea("Labels of its devices, one name=value a line").props("outlined dense autogrow")
            text = "An operator approves each device"
            self._needs_approval = ui.checkbox(text).props(f'dense aria-label="{text}"')
            words = "Its devices then wait on the page of devices; without it they are trusted at once."
            ui.label(words).classes("hint")

    def _open(self) -> None:
        self._form.open()

    async def _make(self) -> None:
        request = EnrollmentTokenRequest(
            name=(self._name.value or "").strip(),
            labels=wording.parse_labels(self._labels.value or ""),
            needs_approval=bool(self._needs_approval.value),
            max_uses=int(form.wanted_number(self._uses)),
            expires_in_s=int(form.wanted_number(self._hours) * _HOUR_S),
        )
        await self._page.act(
            lambda client: client.enrollment_tokens.create(request), self._show_made, self._form.refuse
        )
        await self._refresh()

    def _show_made(self, made: NewEnrollmentToken) -> None:
        self._form.close()
        self._made_content.clear()
        lines, service = agent_lines(made), service_lines(made)
        with self._made_content:
            ui.label("The token, shown this once").classes("form-title")
            ui.label(made.token).classes("code mono").props('data-testid="token"')
            _copy_button("Copy the token", made.token)
            ui.label("On a machine that shall become a device, as a service that starts with it:").classes("words")
            ui.label(service).classes("code mono").props('data-testid="service-lines"')
            _copy_button("Copy these lines", service)
            ui.label("Or only until it is stopped:").classes("words")
            ui.label(lines).classes("code mono").props('data-testid="agent-lines"')
            _copy_button("Copy the lines", lines)
            with ui.element("div").classes("buttons"):
                ui.button("I have kept it", on_click=self._forget, color=None).props("unelevated no-caps").classes(
                    "primary"
                )
        self._made.open()

    def _forget(self) -> None:
        self._made.close()
        self._made_content.clear()

    def _ask_to_revoke(self, token_id: str, _text: str) -> None:
        async def revoke() -> None:
            await self._page.act(lambda client: client.enrollment_tokens.revoke(token_id), _tell_revoked)
            await self._refresh()

        question = "Revoke this token? It enrols nobody from then on; devices that it enrolled stay."
        form.confirm(question, "Revoke it", revoke).open()


def _copy_button(text: str, what: str) -> None:
    def copy() -> None:
        ui.clipboard.write(what)
        ui.notify("Copied.")

    button = (
        ui.button(text, icon="content_copy", on_click=copy, color=None).props("flat dense no-caps").classes("quiet")
    )
    button.style("align-self: flex-start")


def _tell_revoked(_: None) -> None:
    ui.notify("The token is revoked.")


def _row(token: EnrollmentToken, now: datetime) -> dict[str, Any]:
    state = token_state(token, now)
    return {
        "id": token.id,
        "name": table.noted(token.name, format.tail(token.id)) if token.name else table.mono(format.tail(token.id)),
        "state": table.state(state),
        "approval": "by an operator" if token.needs_approval else "",
        "uses": f"{format.count(token.uses)} of {format.count(token.max_uses)}",
        "labels": table.clipped(wording.labels(token.labels)),
        "made": format.age(token.created_at, now),
        "ends": format.ahead(token.expires_at, now) if token.expires_at > now else format.age(token.expires_at, now),
        "revoke": table.action("Revoke") if state == "active" else " ",
    }
