"""Label edits over a selector: first what they would do, then all of it in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from controller import events
from controller.devices import selectors
from controller.devices.selector_sql import condition
from controller.devices.tables import DeviceRow
from controller.errors import Conflict, Invalid

MAX_LABELS: Final = 32  # of a device
_EXAMPLES: Final = 10
_BATCH: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What shall become of the labels of the devices that a selector means."""

    selector: str
    set: Mapping[str, str]
    remove: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an edit does.

    Attributes:
        selector: As it is kept: one spelling for one meaning.
        matched: Devices that it means.
        changed: Ids of those whose labels become others, in order.
    """

    selector: str
    matched: int
    changed: list[str]

    @property
    def examples(self) -> list[str]:
        """Ids of some of those that change."""
        return self.changed[:_EXAMPLES]


def preview(session: Session, edit: Edit) -> Outcome:
    """Say what an edit would do.

    Raises:
        Invalid: `labels.nothing_to_do`, `labels.ambiguous`, `labels.too_many`, and what `selectors.accept` refuses.
    """
    return _plan(session, edit, is_locking=False)


def apply(session: Session, edit: Edit, *, expected: int | None) -> Outcome:
    """Change the labels.

    Args:
        expected: How many devices the caller thinks will change; None: any number.

    Raises:
        Invalid: See `preview`.
        Conflict: `labels.count_changed`, with the present count in `changed`.
    """
    outcome = _plan(session, edit, is_locking=True)
    count = len(outcome.changed)
    if expected is not None and expected != count:
        message = f"{count} devices would change now, not {expected}: look at the preview again."
        raise Conflict("labels.count_changed", message, changed=count, matched=outcome.matched)
    for begin in range(0, count, _BATCH):
        _change(session, outcome.changed[begin : begin + _BATCH], edit)
    return outcome


def _plan(session: Session, edit: Edit, *, is_locking: bool) -> Outcome:
    if not edit.set and not edit.remove:
        raise Invalid("labels.nothing_to_do", "Say which labels are set, or removed.")
    if both := sorted(edit.set.keys() & set(edit.remove)):
        raise Invalid("labels.ambiguous", f"The label {both[0]} cannot be set and removed at once.")
    meant = selectors.accept(session, edit.selector)
    query = select(DeviceRow.id, DeviceRow.labels).where(condition(meant.expression)).order_by(DeviceRow.id)
    if is_locking:
        query = query.with_for_update()
    matched, changed = 0, []
    for device_id, labels in session.execute(query):
        matched += 1
        edited = _edited(labels, edit)
        if edited == labels:
            continue
        changed.append(device_id)
        if len(edited) > MAX_LABELS:
            message = f"{device_id} would have {len(edited)} labels; a device has at most {MAX_LABELS}."
            raise Invalid("labels.too_many", message, device_id=device_id, labels=len(edited))
    return Outcome(selector=str(meant), matched=matched, changed=changed)


def _edited(labels: Mapping[str, Any], edit: Edit) -> dict[str, Any]:
    kept = {name: value for name, value in labels.items() if name not in edit.remove}
    return {**kept, **edit.set}


def _change(session: Session, ids: Sequence[str], edit: Edit) -> None:
    query = select(DeviceRow).where(DeviceRow.id.in_(ids)).order_by(DeviceRow.id)
    devices = list(session.scalars(query.options(load_only(DeviceRow.number, DeviceRow.labels))))
    for device in devices:
        device.labels = _edited(device.labels, edit)
    session.flush()
    told = [(device.id, device.id, {"labels": device.labels}) for device in devices]
    events.record_many(session, "device.labelled", told)
    for device in devices:
        session.expunge(device)  # memory does not grow with the batches
