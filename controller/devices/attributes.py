"""What a device can be selected by, spread out into rows that have indexes: one row for each value.

`labels`, `facts` and `reported` stay what counts; these rows follow them in the same transaction
(controller.devices.changes) and hold what `selector_fields` declares, so that a comparison is a look into an index on
every database, and means the same there. `id`, `state`, `online` and `flapping` are columns already.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, or_, select

from controller.devices.selector_fields import FACTS, FIELDS, LABELS, SERVES, Field, Kind, Shape
from controller.devices.selector_language import print_path
from controller.devices.tables import DeviceNumberRow, DeviceRow, DeviceTextRow
from shoal.wire.rollouts import SlotState

AGENT_VERSION: Final = "agent_version"
# Column of a device to the root of the fields that come from it.
ROOTS: Final = {"labels": LABELS, "facts": FACTS, "reported": SERVES, "agent_version": AGENT_VERSION}
EVERY_ROOT: Final = frozenset(ROOTS.values())
_BATCH: Final = 1000
_FACTS: Final = tuple((field, tuple(name.split("."))[1:]) for name, field in FIELDS.items() if field.root == FACTS)

Row = tuple[str, Any, int]  # path, value, number of the device
Texts = set[tuple[str, str]]
Numbers = set[tuple[str, float]]


@dataclass(frozen=True)
class Attributes:
    """All that a device can be selected by: path and value; booleans are 0 and 1.

    Attributes:
        texts: Also the names in a map, under the map's own path.
    """

    texts: Texts
    numbers: Numbers


def attributes_of(
    *, labels: Mapping[str, Any], facts: Mapping[str, Any], reported: Mapping[str, Any], agent_version: str
) -> Attributes:
    """Spread out what is known of a device; what has another type than declared is left out."""
    found = Attributes(set(), set())
    if agent_version:
        found.texts.add((AGENT_VERSION, agent_version))
    _add_map(found, FIELDS[LABELS], labels)
    _add_map(found, FIELDS[SERVES], served(reported))
    for field, parts in _FACTS if facts else ():
        for value in _values(facts, parts):
            if field.shape is Shape.MAP:
                _add_map(found, field, value)
            else:
                _add(found, field, field.name, value)
    return found


def add(connection: Connection, devices: Sequence[DeviceRow]) -> None:
    """Write the rows of new devices."""
    for batch in _batches(devices):
        wanted = _wanted(batch, EVERY_ROOT)
        _replace(connection, DeviceTextRow, set(), _rows(wanted, lambda one: one.texts))
        _replace(connection, DeviceNumberRow, set(), _rows(wanted, lambda one: one.numbers))


def change(connection: Connection, devices: Sequence[DeviceRow], roots: Set[str]) -> None:
    """Bring the rows of some devices to what the devices are; writes only what differs.

    Args:
        roots: Of the fields that may differ.
    """
    for batch in _batches(devices):
        wanted = _wanted(batch, roots)
        for table, rows in (
            (DeviceTextRow, _rows(wanted, lambda one: one.texts)),
            (DeviceNumberRow, _rows(wanted, lambda one: one.numbers)),
        ):
            # Read after the devices' rows are written, and so held: nobody else changes these meanwhile.
            known = select(table.path, table.value, table.device).where(
                table.device.in_(wanted), or_(*(table.path.startswith(root) for root in roots))
            )
            _replace(connection, table, {tuple(row) for row in connection.execute(known)}, rows)


def _batches(devices: Sequence[DeviceRow]) -> Iterator[Sequence[DeviceRow]]:
    return (devices[begin : begin + _BATCH] for begin in range(0, len(devices), _BATCH))


def _wanted(devices: Sequence[DeviceRow], roots: Set[str]) -> dict[int, Attributes]:
    return {
        device.number: attributes_of(
            labels=device.labels if LABELS in roots else {},  # what is not wanted need not have been loaded
            facts=device.facts if FACTS in roots else {},
            reported=device.reported if SERVES in roots else {},
            agent_version=(device.agent_version or "") if AGENT_VERSION in roots else "",
        )
        for device in devices
    }


def _rows(wanted: Mapping[int, Attributes], part: Callable[[Attributes], Iterable[tuple[str, Any]]]) -> set[Row]:
    return {(path, value, device) for device, one in wanted.items() for path, value in part(one)}


def _replace(
    connection: Connection, table: type[DeviceTextRow] | type[DeviceNumberRow], old: Set[Any], new: Set[Row]
) -> None:
    if lost := sorted(old - new):
        gone = delete(table).where(
            table.path == bindparam("its_path"),
            table.value == bindparam("its_value"),
            table.device == bindparam("its_device"),
        )
        rows = [{"its_path": path, "its_value": value, "its_device": device} for path, value, device in lost]
        connection.execute(gone, rows)
    if added := sorted(new - old):
        connection.execute(insert(table), [{"path": path, "value": value, "device": n} for path, value, n in added])


def _add_map(found: Attributes, field: Field, values: Any) -> None:
    if isinstance(values, Mapping):
        for name, value in values.items():
            found.texts.add((field.name, name))
            _add(found, field, print_path(field, name), value)


def _add(found: Attributes, field: Field, path: str, value: Any) -> None:
    if field.kind is Kind.TEXT and isinstance(value, str):
        found.texts.add((path, value))
    elif field.kind is Kind.BOOLEAN and isinstance(value, bool):
        found.numbers.add((path, float(value)))
    elif field.kind is Kind.NUMBER and isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number):
            found.numbers.add((path, number))


def _values(known: Any, parts: Sequence[str]) -> Iterator[Any]:
    if isinstance(known, list):
        for one in known:
            yield from _values(one, parts)
    elif not parts:
        yield known
    elif isinstance(known, Mapping) and parts[0] in known:
        yield from _values(known[parts[0]], parts[1:])


def served(reported: Mapping[str, Any]) -> dict[str, int]:
    """Give the versions that a device serves by model, as its latest `reported` says."""
    slots = reported.get("slots", [])
    return {slot["model"]: slot["version"] for slot in slots if slot.get("state") == SlotState.SERVING}
