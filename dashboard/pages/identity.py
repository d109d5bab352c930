"""Who is trusted: what operators do with a device's identity (on several pages), and its card on the device's page."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format
from dashboard.components import form, table
from dashboard.components.form import Form
from dashboard.components.layout import Anchor, Facts, Notice, Region, section
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import ApiError, Client
from shoal.schemas.devices import Certificate, Device, DeviceSession

_CLONED: Final = "cloned"  # a state's reason that the controller gives
_TURNED_AWAY: Final = "turned away"
_REASON_LENGTH: Final = 200
_RENEWED_AT: Final = 2 / 3  # of a certificate's life, by its agent
_SHOWN: Final = 8
_SHORT: Final = 12


def host(machine: Device) -> str:
    """Give what a machine calls itself, its id where it has no name."""
    return str(machine.facts.get("hostname") or machine.id)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of several changes."""

    done: int
    refusals: tuple[str, ...]


class Acts:
    """Asks an operator, changes a device, tells it, and has the page look again."""

    def __init__(self, page: Page, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._refresh = refresh
        self._meant = ""
        self._dialogs = ui.element("div").style("display: none")  # outlives the row whose button was clicked
        self._suspend_form, self._suspend_reason = self._reason_form(
            "Suspend",
            "The controller does not listen to it any more: its certificates are revoked, its session ends, and its "
            "work waits until it is activated again.",
            self._suspend,
        )
        self._retire_form, self._retire_reason = self._reason_form(
            "Retire",
            "For good: its certificates are revoked, what is open of its work is canceled, its history stays. The "
            "machine can only enrol itself again as another device.",
            self._retire,
        )

    def approve(self, machines: Sequence[Device]) -> None:
        """Ask whether machines shall become devices of their own."""
        question = approval_question(machines)

        def change(client: Client) -> _Outcome:
            return _each([machine.id for machine in machines], client.devices.approve)

        self._ask(question, "Approve", change, _tell_approved)

    def merge(self, machine: Device) -> None:
        """Ask whether a pending machine is the device that it looks like."""
        known = machine.claims_device_id
        question = (
            f"Let {host(machine)} be {known}?\n{known} goes on with this machine's new key and keeps its labels, "
            "models and history. Its old key and certificates are refused from then on."
        )
        self._ask(question, f"Merge with {known}", lambda client: client.devices.merge(machine.id), _tell_merged)

    def turn_away(self, machine: Device) -> None:
        """Ask whether a pending machine shall be refused for good."""
        question = (
            f"Turn {host(machine)} away for good?\nIts key is refused from then on. It could ask again with another "
            "key, as long as its token is good: revoke the token too if it should not."
        )

        def change(client: Client) -> Device:
            return client.devices.retire(machine.id, _TURNED_AWAY)

        self._ask(question, "Turn away", change, lambda _: ui.notify("The machine is turned away."), is_grave=True)

    def activate(self, device: Device) -> None:
        """Ask whether a suspended device shall be listened to again."""
        question = f"Listen to {device.id} again?\nIt gets a fresh certificate by itself, and its work goes on."
        if device.state_reason == _CLONED:
            question += "\nOnly when the copy is gone: otherwise it is suspended again."

        def change(client: Client) -> Device:
            return client.devices.activate(device.id)

        self._ask(question, "Activate", change, lambda _: ui.notify("The device is active."))

    def suspend(self, device: Device) -> None:
        """Ask why a device shall not be listened to."""
        self._open(self._suspend_form, self._suspend_reason, device)

    def retire(self, device: Device) -> None:
        """Ask why a device goes for good."""
        self._open(self._retire_form, self._retire_reason, device)

    def _reason_form(self, verb: str, words: str, send: Callable[[], Awaitable[None]]) -> tuple[Form, ui.input]:
        with self._dialogs:
            made = Form(f"{verb} this device?", verb, send, test_id=f"{verb.lower()}-form")
            with made.fields():
                ui.label(words).classes("words")
                reason = ui.input("Reason, shown with its state").props(f"outlined dense maxlength={_REASON_LENGTH}")
        return made, reason

    def _open(self, asking: Form, reason: ui.input, device: Device) -> None:
        self._meant = device.id
        reason.value = ""
        asking.open()

    async def _suspend(self) -> None:
        reason = (self._suspend_reason.value or "").strip()
        await self._send(self._suspend_form, lambda client: client.devices.suspend(self._meant, reason), "suspended")

    async def _retire(self) -> None:
        reason = (self._retire_reason.value or "").strip()
        await self._send(self._retire_form, lambda client: client.devices.retire(self._meant, reason), "retired")

    async def _send(self, asking: Form, change: Callable[[Client], Device], what: str) -> None:
        def done(_: Device) -> None:
            asking.close()
            ui.notify(f"The device is {what}.")

        await self._page.act(change, done, asking.refuse)
        await self._refresh()

    def _ask(
        self,
        question: str,
        yes: str,
        change: Callable[[Client], Any],
        tell: Callable[[Any], None],
        *,
        is_grave: bool = False,
    ) -> None:
        async def agreed() -> None:
            await self._page.act(change, tell)
            await self._refresh()

        with self._dialogs:
            form.confirm(question, yes, agreed, no="Not now", is_grave=is_grave).open()


class IdentityCard:
    """The box on a device's page: its state and why, what it is known by, and what can be done about it."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        with section("Identity", test_id="identity") as actions:
            self._alarm = Notice(is_alarm=True, test_id="alarm")
            self._facts = Facts()
        with actions:
            self._buttons = Region("actions")

    def show(self, device: Device, certificates: Sequence[Certificate], now: datetime) -> None:
        """Show a device."""
        self._alarm.show(alarm(device))
        self._facts.show(identity_facts(device, certificates, now))
        self._buttons.show((device.state, device.claims_device_id), lambda _: self._draw_buttons(device))

    def _draw_buttons(self, device: Device) -> None:
        for text, act, is_primary in self._choices(device):
            test_id = text.split(" with ")[0].lower().replace(" ", "-")
            form.button(text, act, test_id=test_id, is_primary=is_primary)

    def _choices(self, device: Device) -> list[tuple[str, Callable[[], None], bool]]:
        acts = self._acts
        if device.state == "retired":
            return []
        if device.state == "pending":
            merge = [(f"Merge with {device.claims_device_id}", lambda: acts.merge(device), True)]
            return [
                *(merge if device.claims_device_id else []),
                ("Approve", lambda: acts.approve([device]), not device.claims_device_id),
                ("Turn away", lambda: acts.turn_away(device), False),
            ]
        change: tuple[str, Callable[[], None], bool] = ("Suspend", lambda: acts.suspend(device), False)
        if device.state == "suspended":
            change = ("Activate", lambda: acts.activate(device), device.state_reason != _CLONED)
        return [change, ("Retire", lambda: acts.retire(device), False)]


class IdentityTables:
    """A device's certificates, and its sessions with the broker."""

    def __init__(self) -> None:
        with section("Certificates", hint="newest first", test_id="certificates", wide=True):
            self._certificates = Table(
                [
                    Column(name="serial", label="Serial"),
                    Column(name="state", label="State"),
                    Column(name="issued", label="Issued"),
                    Column(name="ends", label="Ends"),
                    Column(name="revoked", label="Revoked", is_long=True),
                ],
                nothing="It has no certificate.",
            )
            self._certificates_notice = Notice()
        with section("Sessions", hint="with the broker, newest first", test_id="sessions", wide=True):
            self._sessions = Table(
                [
                    Column(name="session", label="Session", is_number=True),
                    Column(name="begun", label="Begun"),
                    Column(name="ended", label="Lasted"),
                    Column(name="end", label="Ended"),
                    Column(name="instance", label="Agent process"),
                    Column(name="boot", label="Boot"),
                    Column(name="agent", label="Agent"),
                ],
                nothing="It has not come online yet.",
            )
            self._sessions_notice = Notice()

    def show(
        self,
        certificates: Sequence[Certificate],
        sessions: Sequence[DeviceSession],
        now: datetime,
    ) -> None:
        """Show the newest."""
        self._certificates.show([certificate_row(one, now) for one in certificates[:_SHOWN]])
        self._certificates_notice.show(_more(len(certificates)))
        self._sessions.show([session_row(one, now) for one in sessions[:_SHOWN]])
        self._sessions_notice.show(_more(len(sessions)))


def approval_question(machines: Sequence[Device]) -> str:
    """Ask whether machines shall become devices of their own, and say what that means."""
    alike = [machine for machine in machines if machine.claims_device_id]
    if len(machines) == 1:
        (machine,) = machines
        lines = [
            f"Approve {host(machine)} as a device of its own?",
            f"It becomes {machine.id}, with a certificate and the labels of its token.",
        ]
    else:
        lines = [
            f"Approve {len(machines)} machines as devices of their own?",
            "Each gets a certificate and the labels of its token.",
        ]
    if alike:
        whose = "It looks" if len(machines) == 1 else f"{len(alike)} of them look{'s' if len(alike) == 1 else ''}"
        known = alike[0].claims_device_id if len(alike) == 1 else "devices that are known"
        lines.append(f"{whose} like {known}: merge instead what was only installed anew.")
    return "\n".join(lines)


def alarm(device: Device) -> str:
    """Say what is wrong with a device's identity and what to do; empty where nothing is."""
    if device.state == "suspended" and device.state_reason == _CLONED:
        return (
            "Two machines used this identity at once, so neither is listened to. Somebody copied the agent's state "
            "folder, or an image of the disk. Find the copy, delete its state folder and let it enrol itself with a "
            "token of its own; then activate this device. If you cannot tell which one is the copy, retire it and "
            "enrol both anew."
        )
    return ""


def identity_facts(device: Device, certificates: Sequence[Certificate], now: datetime) -> list[tuple[str, Any]]:
    """Give the facts of the card."""
    good = [one for one in certificates if certificate_state(one, now) == "good"]
    newest = good[0] if good else None
    revoked = sum(one.revoked_at is not None for one in certificates)
    claimed = device.claims_device_id
    return [
        ("State", f"{device.state}: {device.state_reason}" if device.state_reason else device.state),
        ("Looks like", Anchor(f"{claimed}, by its hardware", f"/devices/{claimed}") if claimed else ""),
        ("Key", device.key_id),
        ("Hardware", _short(device.hardware_id or "") or "not told"),
        ("Token", format.tail(device.enrollment_token_id)),
        ("Asked to join" if device.state == "pending" else "Enrolled", format.age(device.enrolled_at, now)),
        ("Certificate", _short(newest.serial) if newest else _no_certificate(device)),
        ("Issued", format.age(newest.issued_at, now) if newest else ""),
        ("Ends", _ends(newest, now) if newest else ""),
        ("Revoked", f"{format.count(revoked)} certificate{'s' if revoked != 1 else ''}" if revoked else ""),
    ]


def certificate_state(certificate: Certificate, now: datetime) -> str:
    """Say whether a certificate is still good."""
    if certificate.revoked_at is not None:
        return "revoked"
    return "expired" if certificate.expires_at <= now else "good"


def certificate_row(certificate: Certificate, now: datetime) -> dict[str, Any]:
    """Give a certificate as a row."""
    ends = certificate.expires_at
    revoked = format.age(certificate.revoked_at, now) if certificate.revoked_at else ""
    return {
        "id": certificate.serial,
        "serial": table.mono(_short(certificate.serial), title=certificate.serial),
        "state": table.state(certificate_state(certificate, now)),
        "issued": format.age(certificate.issued_at, now),
        "ends": format.ahead(ends, now) if ends > now else format.age(ends, now),
        "revoked": table.noted(revoked, certificate.reason) if revoked else "",
    }


def session_row(session: DeviceSession, now: datetime) -> dict[str, Any]:
    """Give a session as a row; one that came late may be a copy of the device."""
    late = "a copy of the device?" if session.end == "late" else ""
    lasted = ((session.ended_at or now) - session.begun_at).total_seconds()
    return {
        "id": str(session.session),
        "session": format.count(session.session),
        "begun": format.age(session.begun_at, now),
        "ended": "" if late else format.span(lasted),
        "end": table.state(session.end or "open", note=late),
        "instance": table.mono(_short(session.instance), title=session.instance),
        "boot": table.mono(_short(session.boot_id), title=session.boot_id),
        "agent": session.agent_version,
    }


def _short(text: str) -> str:
    return f"{text[:_SHORT]}…" if len(text) > _SHORT else text


def _no_certificate(device: Device) -> str:
    return "none until it is approved" if device.state == "pending" else "none that is good"


def _ends(certificate: Certificate, now: datetime) -> str:
    renewed_at = certificate.issued_at + (certificate.expires_at - certificate.issued_at) * _RENEWED_AT
    renews = f"renews itself {format.ahead(renewed_at, now)}" if renewed_at > now else "renews itself when it is online"
    return f"{format.ahead(certificate.expires_at, now)}; {renews}"


def _more(count: int) -> str:
    return f"{count - _SHOWN} older ones are not shown." if count > _SHOWN else ""


def _each(device_ids: Sequence[str], change: Callable[[str], Device]) -> _Outcome:
    refusals = []
    for device_id in device_ids:
        try:
            change(device_id)
        except ApiError as error:
            if error.status == 401:
                raise
            refusals.append(f"{device_id}: {error}")
    return _Outcome(done=len(device_ids) - len(refusals), refusals=tuple(refusals))


def _tell_approved(outcome: _Outcome) -> None:
    if outcome.done:
        ui.notify("The machine is a device now." if outcome.done == 1 else f"{outcome.done} machines are devices now.")
    for words in outcome.refusals[:3]:
        ui.notify(words, type="negative", multi_line=True, close_button=True)


def _tell_merged(device: Device) -> None:
    ui.notify(f"The machine is {device.id} now.")
