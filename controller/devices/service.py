"""The registry: facts, desired and reported documents, receipts.

Every write that comes from a device is idempotent and ordered by `(session, sequence)`, because a broker may lose,
double and reorder. Not here: enrolment, identity, sessions, selectors, and what should be desired (rooms above decide).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.db import utc_now
from controller.devices.differences import Difference, differences
from controller.devices.lifecycle import Act, DeviceState, may
from controller.devices.selector_language import parse
from controller.devices.selectors import accept_for_work, named_ids, select_devices
from controller.devices.tables import DesiredRow, DeviceRow, ReceiptRow
from controller.errors import NotFound
from shoal.wire import topics
from shoal.wire.devices import FactsReport
from shoal.wire.rollouts import Desired, DesiredVariant, Receipt, Reported

# Facts that move by themselves: no news.
_RESTLESS: Final = frozenset(
    {"battery_ratio", "disk_free_bytes", "download_bytes_per_s", "round_trip_s", "temperatures_celsius"}
)


def get(session: Session, device_id: str) -> DeviceRow:
    """Give a device.

    Raises:
        NotFound: `device.not_found`.
    """
    device = session.get(DeviceRow, device_id)
    if device is None:
        raise NotFound("device.not_found", f"There is no device {device_id[:40]}.")
    return device


def lock(session: Session, device_id: str) -> DeviceRow:
    """Give a device, held for this transaction.

    Raises:
        NotFound: `device.not_found`.
    """
    device = session.get(DeviceRow, device_id, with_for_update=True)
    if device is None:
        raise NotFound("device.not_found", f"There is no device {device_id[:40]}.")
    return device


def set_labels(session: Session, device_id: str, labels: Mapping[str, str]) -> DeviceRow:
    """Replace a device's labels.

    Raises:
        NotFound: `device.not_found`.
    """
    device = get(session, device_id)
    device.labels = dict(labels)
    events.record(session, "device.labelled", subject=device.id, device_id=device.id, data={"labels": dict(labels)})
    return device


def accept_selector(session: Session, text: str) -> str:
    """Give a selector of devices that shall do something, as it is kept.

    Raises:
        Invalid: `selector.syntax`, `selector.unknown_field`, `selector.unknown_label`, `selector.unknown_group`,
            `selector.wrong_type`, `selector.too_long`, `selector.too_deep`.
        NotFound: `device.not_found`, for an id that is none of an active device.
    """
    return str(accept_for_work(session, text))


def select_by(session: Session, selector: str) -> list[DeviceRow]:
    """Give the active devices that a selector means now."""
    return select_devices(session, selector)


def ids_named_by(selector: str) -> list[str]:
    """Give the ids of a selector that does nothing but name devices, such as `id in (d-..., d-...)`; none of others."""
    return named_ids(parse(selector))


def desired_of(session: Session, device_id: str) -> DesiredRow:
    """Give the row of a device's desired document.

    Raises:
        NotFound: `device.not_found`.
    """
    row = session.get(DesiredRow, device_id)
    if row is None:
        raise NotFound("device.not_found", f"There is no device {device_id[:40]}.")
    return row


def change_desired(session: Session, device_id: str, change: Callable[[Desired], Desired]) -> Desired:
    """Apply `change` to a device's desired document, count its version up, and publish it."""
    row = session.get(DesiredRow, device_id, with_for_update=True) or desired_of(session, device_id)
    changed = change(msgspec.convert(row.body, Desired))
    desired = msgspec.structs.replace(changed, epoch=row.epoch, version=row.version + 1)
    row.version = desired.version
    row.body = msgspec.to_builtins(desired)
    row.updated_at = utc_now()
    data = {"version": desired.version, "variants": [f"{one.model}/{one.version}" for one in desired.variants]}
    events.record(session, "desired.changed", subject=device_id, device_id=device_id, data=data)
    _publish(session, device_id, desired)
    return desired


def republish_desired(session: Session, device_id: str) -> None:
    """Publish the desired document as it is; for a device that holds an older one."""
    _publish(session, device_id, msgspec.convert(desired_of(session, device_id).body, Desired))


def differences_of(session: Session, device: DeviceRow) -> list[Difference]:
    """Say in what a device is not what it shall be."""
    away = "" if device.online else "It is offline."
    if not may(DeviceState(device.state), Act.CONNECT):
        away = f"It is {device.state}."
    desired = msgspec.convert(desired_of(session, device.id).body, Desired)
    reported = msgspec.convert(device.reported, Reported) if device.reported else None
    return differences(desired, reported, away)


def clear_desired(session: Session, device_id: str) -> None:
    """Take the retained document from the broker; the row stays."""
    events.publish(session, topic=topics.down(device_id, "desired"), kind="", body="", retain=True)


def set_attempt(session: Session, device_id: str, execution_id: str, attempt: int) -> None:
    """Have a rollout step tried again, in the desired document that carries it."""

    def retried(variant: DesiredVariant) -> DesiredVariant:
        is_meant = variant.execution_id == execution_id
        return msgspec.structs.replace(variant, attempt=attempt) if is_meant else variant

    def change(desired: Desired) -> Desired:
        return msgspec.structs.replace(desired, variants=[retried(variant) for variant in desired.variants])

    change_desired(session, device_id, change)


def save_facts(session: Session, device: DeviceRow, report: FactsReport, now: datetime) -> bool:
    """Keep newer facts, and note which became others; False for older ones."""
    if (report.session, report.sequence) <= (device.facts_session, device.facts_sequence):
        return False
    facts = msgspec.to_builtins(report.facts)
    changed = sorted(
        name for name in (facts.keys() | device.facts.keys()) - _RESTLESS if facts.get(name) != device.facts.get(name)
    )
    if changed and device.facts_session:  # the first report completes what was said at the enrolment
        data = {"changed": changed}
        events.record(session, "facts.changed", subject=device.id, device_id=device.id, data=data)
    device.facts = facts
    device.facts_session, device.facts_sequence = report.session, report.sequence
    device.last_seen_at = now
    return True


def save_reported(device: DeviceRow, reported: Reported, now: datetime) -> bool:
    """Keep a newer report; False for an older one."""
    if (reported.session, reported.sequence) <= (device.reported_session, device.reported_sequence):
        return False
    device.reported = msgspec.to_builtins(reported)
    device.reported_session, device.reported_sequence = reported.session, reported.sequence
    device.last_seen_at = now
    return True


def add_receipt(
    session: Session, device: DeviceRow, receipt: Receipt, envelope: bytes, now: datetime
) -> ReceiptRow | None:
    """Keep a receipt with the bytes that were signed; None for one that is kept already."""
    known = session.scalar(
        select(ReceiptRow.id).where(
            ReceiptRow.device_id == device.id,
            ReceiptRow.session == receipt.session,
            ReceiptRow.sequence == receipt.sequence,
        )
    )
    if known is not None:
        return None
    row = ReceiptRow(
        device_id=device.id,
        session=receipt.session,
        sequence=receipt.sequence,
        execution_id=receipt.execution_id,
        model=receipt.model,
        version=receipt.version,
        variant_id=receipt.variant_id,
        runtime=receipt.runtime,
        sha256=receipt.sha256,
        golden_passed=receipt.golden.passed,
        golden_agreement=receipt.golden.agreement,
        latency_p50_ms=receipt.latency_p50_ms,
        is_fallback=receipt.is_fallback,
        is_latest=_become_latest(session, device, receipt),
        body=msgspec.to_builtins(receipt),
        envelope=envelope,
        accepted_at=now,
    )
    session.add(row)
    session.flush()
    data = {"model": receipt.model, "version": receipt.version, "golden_passed": receipt.golden.passed}
    events.record(session, "receipt.accepted", subject=row.id, device_id=device.id, data=data)
    return row


def _become_latest(session: Session, device: DeviceRow, receipt: Receipt) -> bool:
    """Tell whether no receipt of the device and model was signed later; the latest until now is none any more."""
    latest = session.scalar(
        select(ReceiptRow).where(
            ReceiptRow.device_id == device.id, ReceiptRow.model == receipt.model, ReceiptRow.is_latest.is_(True)
        )
    )
    if latest is None:
        return True
    latest.is_latest = (latest.session, latest.sequence) > (receipt.session, receipt.sequence)
    return not latest.is_latest


def _publish(session: Session, device_id: str, desired: Desired) -> None:
    if not may(DeviceState(get(session, device_id).state), Act.CONNECT):
        return  # it is published when the device is activated
    body = msgspec.json.encode(desired).decode()
    events.publish(session, topic=topics.down(device_id, "desired"), kind="desired", body=body, retain=True)
