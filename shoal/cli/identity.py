"""Who is trusted, verbs of `shoal devices`: approve, merge, suspend, activate, retire; certificates and sessions."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from shoal.cli import output
from shoal.cli.options import Json
from shoal.cli.output import Column, show_done, show_page
from shoal.cli.session import connect
from shoal.client import ApiError, Client
from shoal.schemas.devices import Certificate, Device, DeviceSession

DeviceId = Annotated[str, typer.Argument(metavar="DEVICE", help="Such as d-asuaylnyppazmutt.")]
DeviceIds = Annotated[list[str], typer.Argument(metavar="DEVICE...", help="One or several.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is shown with the state.")]

_CERTIFICATES: Final = (
    Column[Certificate](title="Serial", of=lambda certificate: certificate.serial),
    Column[Certificate](title="State", of=lambda certificate: certificate_state(certificate, datetime.now(UTC))),
    Column[Certificate](title="Issued", of=lambda certificate: certificate.issued_at),
    Column[Certificate](title="Ends", of=lambda certificate: certificate.expires_at),
    Column[Certificate](title="Revoked", of=lambda certificate: certificate.revoked_at, is_optional=True),
    Column[Certificate](title="Why", of=lambda certificate: certificate.reason, is_long=True, is_optional=True),
)
_SESSIONS: Final = (
    Column[DeviceSession](title="Session", of=lambda session: session.session, is_number=True),
    Column[DeviceSession](title="Begun", of=lambda session: session.begun_at),
    Column[DeviceSession](title="Ended", of=lambda session: session.ended_at),
    Column[DeviceSession](title="How", of=lambda session: session.end or "open"),
    Column[DeviceSession](title="Instance", of=lambda session: session.instance[:12]),
    Column[DeviceSession](title="Boot", of=lambda session: session.boot_id[:12]),
    Column[DeviceSession](title="Agent", of=lambda session: session.agent_version),
)


def approve(devices: DeviceIds, as_json: Json = False) -> None:
    """Let pending machines be devices of their own."""
    _change(devices, lambda client, device: client.devices.approve(device), as_json=as_json)


def merge(device: DeviceId, as_json: Json = False) -> None:
    """Let a pending machine be the device that it looks like: the device gets the machine's new key."""
    with connect() as client:
        found = client.devices.merge(device)
    show_done(f"{device} is {found.id} now, with a new key.", found.model_dump(mode="json"), as_json=as_json)


def suspend(devices: DeviceIds, reason: Reason = "", as_json: Json = False) -> None:
    """Stop listening to devices until they are activated again; their work waits."""
    _change(devices, lambda client, device: client.devices.suspend(device, reason), as_json=as_json)


def activate(devices: DeviceIds, as_json: Json = False) -> None:
    """Listen to suspended devices again."""
    _change(devices, lambda client, device: client.devices.activate(device), as_json=as_json)


def retire(
    devices: DeviceIds,
    reason: Reason = "",
    is_agreed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Part with devices, or turn pending machines away, for good."""
    if not is_agreed:
        whom = devices[0] if len(devices) == 1 else f"{len(devices)} devices"
        question = f"Retire {whom} for good? Open work is canceled, and there is no way back."
        typer.confirm(question, abort=True, err=True)
    _change(devices, lambda client, device: client.devices.retire(device, reason), as_json=as_json)


def certificates(device: DeviceId, as_json: Json = False) -> None:
    """List a device's newest certificates."""
    with connect() as client:
        page = client.devices.certificates(device)
    empty = "It has no certificate: it waits for approval, or was turned away."
    show_page(page, _CERTIFICATES, empty=empty, as_json=as_json)


def sessions(device: DeviceId, as_json: Json = False) -> None:
    """List a device's newest sessions with the broker, and how each ended."""
    with connect() as client:
        page = client.devices.sessions(device)
    show_page(page, _SESSIONS, empty="It has not come online yet.", as_json=as_json)


def certificate_state(certificate: Certificate, now: datetime) -> str:
    """Say whether a certificate is still good."""
    if certificate.revoked_at is not None:
        return "revoked"
    return "expired" if certificate.expires_at <= now else "good"


def _change(device_ids: Sequence[str], change: Callable[[Client, str], Device], *, as_json: bool) -> None:
    """Change one device after the other; a refusal stops none of the others.

    Raises:
        typer.Exit: One or several were refused.
    """
    changed: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    with connect() as client:
        for device_id in dict.fromkeys(device_ids):
            try:
                found = change(client, device_id)
            except ApiError as error:
                refused.append({"id": device_id, "code": error.code, "message": str(error)})
                output.say(f"{device_id}: {output.sentence(error)}")
            else:
                changed.append(found.model_dump(mode="json"))
                if not as_json:
                    why = f": {found.state_reason}" if found.state_reason else ""
                    show_done(f"{found.id} is {found.state}{why}.", {}, as_json=False)
    if as_json:
        show_done("", {"items": changed, "refused": refused}, as_json=True)
    if refused:
        raise typer.Exit(output.FAILED)
