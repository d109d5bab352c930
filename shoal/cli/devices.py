"""`shoal devices`, and `shoal fleet`: what is enrolled, what it runs, what it proved."""

import json
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from shoal.cli import figures, identity
from shoal.cli.files import write_whole
from shoal.cli.identity import DeviceId
from shoal.cli.observe import EVENT_COLUMNS
from shoal.cli.options import Cursor, Every, Json, Limit, Paging, ToLabels, ToSelector, both, label_terms
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.devices import Device, Difference, Receipt, Slot

app = typer.Typer(no_args_is_help=True, help="The enrolled machines.")

_COLUMNS: Final = (
    Column[Device](title="Device", of=lambda device: device.id),
    Column[Device](title="State", of=lambda device: device.state),
    Column[Device](title="Link", of=lambda device: "online" if device.online else "offline"),
    Column[Device](title="Serves", of=lambda device: [_served(slot) for slot in device.slots], is_long=True),
    Column[Device](title="Labels", of=lambda device: device.labels, is_long=True),
    Column[Device](title="Last seen", of=lambda device: device.last_seen_at),
    Column[Device](title="Note", of=lambda device: _note(device), is_long=True, is_optional=True),
)
_SLOTS: Final = (
    Column[Slot](title="Model", of=lambda slot: f"{slot.model}/{slot.version}"),
    Column[Slot](title="Slot", of=lambda slot: slot.slot),
    Column[Slot](title="State", of=lambda slot: slot.state),
    Column[Slot](title="Runtime", of=lambda slot: slot.runtime),
    Column[Slot](title="SHA-256", of=lambda slot: slot.sha256[:12]),
    Column[Slot](title="Message", of=lambda slot: slot.message, is_long=True, is_optional=True),
)
_RECEIPTS: Final = (
    Column[Receipt](title="Model", of=lambda receipt: f"{receipt.model}/{receipt.version}"),
    Column[Receipt](title="Runtime", of=lambda receipt: receipt.runtime),
    Column[Receipt](title="Golden set", of=lambda receipt: "passed" if receipt.golden_passed else "failed"),
    Column[Receipt](title="Agreement", of=lambda receipt: figures.percent(receipt.golden_agreement), is_number=True),
    Column[Receipt](title="Median", of=lambda receipt: f"{receipt.latency_p50_ms:.3f} ms", is_number=True),
    Column[Receipt](title="Fallback", of=lambda receipt: receipt.is_fallback),
    Column[Receipt](title="SHA-256", of=lambda receipt: receipt.sha256[:12]),
    Column[Receipt](title="Accepted", of=lambda receipt: receipt.accepted_at),
)

_DIFFERENCES: Final = (
    Column[Difference](title="About", of=lambda one: one.subject),
    Column[Difference](title="Desired", of=lambda one: one.desired or "nothing", is_long=True),
    Column[Difference](title="Reported", of=lambda one: one.reported or "nothing", is_long=True),
    Column[Difference](title="Because", of=lambda one: one.because, is_long=True),
)


@app.command("list")
def list_devices(
    q: Annotated[str, typer.Option("--find", help="Part of an id or a host name.")] = "",
    selector: ToSelector = None,
    state: Annotated[str | None, typer.Option("--state", help="Only devices in this state.")] = None,
    online: Annotated[bool | None, typer.Option("--online/--offline", help="Only those.")] = None,
    label: ToLabels = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List devices."""
    chosen = _compose(selector, state, online, label)
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.devices.list(q=q, selector=chosen, limit=limit, cursor=cursor)
        )
    none = "No devices yet: make an enrolment token with `shoal enrollment-tokens create`."
    is_filtered = bool(q) or chosen != "all"
    show_page(page, _COLUMNS, empty="No device is like that." if is_filtered else none, as_json=as_json)


@app.command("export")
def export_devices(
    file: Annotated[Path | None, typer.Option("--file", help="Where to; without it, standard output.")] = None,
    format: Annotated[Literal["csv", "json"], typer.Option("--format")] = "csv",
    selector: ToSelector = None,
    label: ToLabels = None,
) -> None:
    """Write all devices, or those that a selector means, as CSV or JSON."""
    with connect() as client:
        pieces = client.devices.export(format, both(selector, label_terms(label)))
        if file is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.flush()
        else:
            write_whole(file, pieces)


@app.command()
def show(device: DeviceId, as_json: Json = False) -> None:
    """Show a device and what it serves."""
    with connect() as client:
        found = client.devices.show(device)
    facts = {
        "Device": found.id,
        "State": found.state,
        **({"Why": found.state_reason} if found.state_reason else {}),
        **({"Looks like": found.claims_device_id} if found.claims_device_id else {}),
        "Link": "online" if found.online else "offline",
        "Labels": found.labels,
        "Agent": found.agent_version,
        "Desired": f"version {found.desired[1]}, reported {found.reported[1]}",
        "Online since": found.online_since,
        "Last seen": found.last_seen_at,
        "Enrolled": found.enrolled_at,
        "Certificate ends": None if found.state == "pending" else found.certificate_expires_at,
        "Hardware": found.hardware_id,
        "Facts": found.facts,
    }
    show_item(found, facts, Part(items=found.slots, columns=_SLOTS), as_json=as_json)


for _verb in (
    identity.approve,
    identity.merge,
    identity.suspend,
    identity.activate,
    identity.retire,
    identity.certificates,
    identity.sessions,
):
    app.command()(_verb)


@app.command()
def receipts(
    device: DeviceId,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List a device's signed statements of what it runs, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.devices.receipts(device, limit=limit, cursor=cursor)
        )
    show_page(page, _RECEIPTS, empty="No receipts yet: a rollout asks for them.", as_json=as_json)


@app.command()
def events(
    device: DeviceId,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List what happened to a device, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.devices.events(device, limit=limit, cursor=cursor)
        )
    show_page(page, EVENT_COLUMNS, empty="Nothing has happened to it yet.", as_json=as_json)


@app.command()
def difference(device: DeviceId, as_json: Json = False) -> None:
    """List in what a device is not what it shall be, and why."""
    with connect() as client:
        found = client.devices.difference(device)
    show_page(found, _DIFFERENCES, empty="None: the device is what it shall be.", as_json=as_json)


def _compose(selector: str | None, state: str | None, online: bool | None, labels: list[str] | None) -> str:
    terms = [] if state is None else [f"state == {json.dumps(state)}"]
    if online is not None:
        terms.append("online" if online else "not online")
    return both(selector, terms + label_terms(labels))


def _served(slot: Slot) -> str:
    return f"{slot.model}/{slot.version}" if slot.state == "serving" else f"{slot.model}/{slot.version} {slot.state}"


def _note(device: Device) -> str:
    """Say why a device is in its state, and of a machine that waits for approval what it is."""
    if device.state != "pending":
        return device.state_reason
    likeness = f"looks like {device.claims_device_id}" if device.claims_device_id else ""
    return ", ".join(part for part in (str(device.facts.get("hostname") or ""), likeness) if part)
