"""Saved selectors, whose members follow from what happens to devices.

A member row is written in the transaction that changes the device, or the group: nothing scans the registry for it. A
device that changed has an event of its own for each group that it joined or left; a group that changed has one for all.
On PostgreSQL a change of a group waits for those who follow at that moment, and the other way round, so that no device
falls between the two; SQLite has one writer.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import CursorResult, Result, case, delete, func, insert, literal, select
from sqlalchemy.orm import Session

from controller import events
from controller.devices import selectors
from controller.devices.selector_language import Selector, parse
from controller.devices.selector_sql import Scope, condition
from controller.devices.tables import DeviceRow, GroupMemberRow, GroupRow
from controller.errors import Conflict, Invalid, NotFound

_log: Final = logging.getLogger(__name__)
EVERYTHING: Final = frozenset({"*"})  # of a device that is new
MAX_GROUPS: Final = 200  # each is looked at whenever a device changes in what it asks for
_BATCH: Final = 1000  # devices in a statement
_TOGETHER: Final = 20  # groups in a statement
_LOCK: Final = 0x5348_4F41  # PostgreSQL's advisory lock of this module


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many devices a group has now."""

    devices: int = 0
    online: int = 0


def create(session: Session, *, name: str, selector: str, description: str, actor: str, now: datetime) -> GroupRow:
    """Save a selector, and find its members.

    Raises:
        Conflict: `group.exists`, `group.too_many`.
        Invalid: `group.nested`, and what `selectors.accept` refuses.
    """
    meant = _accept(session, selector)
    _lock(session, "pg_advisory_xact_lock")
    if session.get(GroupRow, name) is not None:
        raise Conflict("group.exists", f"There is a group {name} already: choose another name, or change that one.")
    if (session.scalar(select(func.count()).select_from(GroupRow)) or 0) >= MAX_GROUPS:
        raise Conflict("group.too_many", f"There are {MAX_GROUPS} groups, the most that there can be: delete one.")
    row = GroupRow(
        name=name,
        selector=str(meant),
        description=description,
        created_by=actor,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    moved = _match(session, row, meant)
    events.record(session, "group.created", subject=name, data={"selector": row.selector, **moved})
    return row


def get(session: Session, name: str) -> GroupRow:
    """Give a group.

    Raises:
        NotFound: `group.not_found`.
    """
    row = session.get(GroupRow, name)
    if row is None:
        raise NotFound("group.not_found", f"There is no group {name[:64]}.")
    return row


def change(session: Session, name: str, *, selector: str | None, description: str | None, now: datetime) -> GroupRow:
    """Change what is given; another selector finds its members at once.

    Raises:
        NotFound: `group.not_found`.
        Invalid: `group.nested`, and what `selectors.accept` refuses.
    """
    _lock(session, "pg_advisory_xact_lock")
    row = get(session, name)
    moved = {"joined": 0, "left": 0}
    if description is not None:
        row.description = description
    if selector is not None:
        meant = _accept(session, selector)
        row.selector = str(meant)
        moved = _match(session, row, meant)
    row.updated_at = now
    events.record(session, "group.changed", subject=name, data={"selector": row.selector, **moved})
    return row


def remove(session: Session, name: str) -> None:
    """Delete a group; selectors that name it are refused from now on.

    Raises:
        NotFound: `group.not_found`.
    """
    _lock(session, "pg_advisory_xact_lock")
    row = get(session, name)
    left = _count(session.execute(delete(GroupMemberRow).where(GroupMemberRow.group == name)))
    session.delete(row)
    events.record(session, "group.deleted", subject=name, data={"left": left})


def counts(session: Session, names: Iterable[str]) -> dict[str, Count]:
    """Count the members of groups."""
    query = (
        select(GroupMemberRow.group, func.count(), func.sum(case((DeviceRow.online.is_(True), 1), else_=0)))
        .join(DeviceRow, DeviceRow.number == GroupMemberRow.device)
        .where(GroupMemberRow.group.in_(names))
        .group_by(GroupMemberRow.group)
    )
    return {name: Count(devices=devices, online=int(online)) for name, devices, online in session.execute(query)}


def names_of(session: Session, numbers: Iterable[int]) -> dict[int, list[str]]:
    """Give the names of the groups that some devices are in, by the devices' numbers."""
    query = (
        select(GroupMemberRow.device, GroupMemberRow.group)
        .where(GroupMemberRow.device.in_(numbers))
        .order_by(GroupMemberRow.group)
    )
    found: dict[int, list[str]] = {}
    for number, name in session.execute(query):
        found.setdefault(number, []).append(name)
    return found


def follow(session: Session, changes: Mapping[int, frozenset[str]]) -> None:
    """Let devices join and leave groups after they changed.

    Args:
        changes: Number of a device to the roots of the fields that changed, or `EVERYTHING`.
    """
    _lock(session, "pg_advisory_xact_lock_shared")
    roots = frozenset().union(*changes.values())
    watching = [
        (name, meant)
        for name, text in session.execute(select(GroupRow.name, GroupRow.selector).order_by(GroupRow.name))
        if (meant := _read(text)) is not None and (roots & EVERYTHING or roots & meant.roots)
    ]
    numbers = sorted(changes)
    for at in range(0, len(watching), _TOGETHER):
        for begin in range(0, len(numbers), _BATCH):
            _follow(session, watching[at : at + _TOGETHER], numbers[begin : begin + _BATCH])


def _follow(session: Session, watching: Sequence[tuple[str, Selector]], numbers: Sequence[int]) -> None:
    names = [name for name, _ in watching]
    columns = [case((condition(meant.expression, Scope.FEW), 1), else_=0) for _, meant in watching]
    query = select(DeviceRow.number, DeviceRow.id, *columns).where(DeviceRow.number.in_(numbers))
    meant: set[tuple[str, int]] = set()
    ids: dict[int, str] = {}
    for number, device_id, *answers in session.execute(query):
        ids[number] = device_id
        meant |= {(name, number) for name, answer in zip(names, answers, strict=True) if answer}
    members = session.execute(
        select(GroupMemberRow.group, GroupMemberRow.device).where(
            GroupMemberRow.device.in_(numbers), GroupMemberRow.group.in_(names)
        )
    )
    present = {(name, number) for name, number in members}
    _join(session, [(name, number, ids[number]) for name, number in sorted(meant - present)])
    _leave(session, [(name, number, ids[number]) for name, number in sorted(present - meant)])


def _match(session: Session, row: GroupRow, meant: Selector) -> dict[str, int]:
    """Make the members of a group those that its selector means; gives how many joined and left."""
    wanted = select(DeviceRow.number).where(condition(meant.expression))
    members = select(GroupMemberRow.device).where(GroupMemberRow.group == row.name)
    gone = delete(GroupMemberRow).where(GroupMemberRow.group == row.name, GroupMemberRow.device.not_in(wanted))
    left = _count(session.execute(gone))
    new = wanted.add_columns(literal(row.name)).where(DeviceRow.number.not_in(members))
    joined = _count(session.execute(insert(GroupMemberRow).from_select(["device", "group_name"], new)))
    return {"joined": joined, "left": left}


def _count(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount


def _join(session: Session, joining: Sequence[tuple[str, int, str]]) -> None:
    for begin in range(0, len(joining), _BATCH):
        batch = joining[begin : begin + _BATCH]
        session.execute(insert(GroupMemberRow), [{"group": name, "device": number} for name, number, _ in batch])
        _record(session, "group.joined", batch)


def _leave(session: Session, leaving: Sequence[tuple[str, int, str]]) -> None:
    for begin in range(0, len(leaving), _BATCH):
        batch = leaving[begin : begin + _BATCH]
        for name in {name for name, _, _ in batch}:
            numbers = [number for group, number, _ in batch if group == name]
            session.execute(
                delete(GroupMemberRow).where(GroupMemberRow.group == name, GroupMemberRow.device.in_(numbers))
            )
        _record(session, "group.left", batch)


def _record(session: Session, happened: str, devices: Sequence[tuple[str, int, str]]) -> None:
    events.record_many(session, happened, [(name, device_id, {"group": name}) for name, _, device_id in devices])


def _accept(session: Session, text: str) -> Selector:
    meant = selectors.accept(session, text)
    nested = next((term for term in meant.terms if term.field.root == "group"), None)
    if nested is not None:
        message = "A group is saved from devices, not from other groups: write out what that group asks for."
        raise meant.refuse("group.nested", message, nested.place)
    return meant


@lru_cache(maxsize=MAX_GROUPS)
def _read(text: str) -> Selector | None:
    try:
        return parse(text)
    except Invalid as error:  # of another version of the language: the group stays as it is, and devices go on
        _log.error("a group's selector cannot be read any more: %s", error.message)
        return None


def _lock(session: Session, function: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(getattr(func, function)(_LOCK)))
