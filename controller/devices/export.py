"""The devices that a selector means, as one file that is made while it is sent: memory does not grow with the fleet.

Each batch is read in a transaction of its own, so that a slow reader holds none open; devices that come or change
meanwhile are in the file or not, none is in it twice.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.db import Database
from controller.devices.attributes import served
from controller.devices.selector_fields import LABELS
from controller.devices.selector_language import Selector
from controller.devices.selector_sql import Scope, condition
from controller.devices.tables import DeviceRow, DeviceTextRow

_BATCH: Final = 500
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # with these a spreadsheet begins to calculate
_BEFORE_LABELS: Final = ("id", "state", "online", "flapping")
_AFTER_LABELS: Final = (
    "hostname",
    "board",
    "cpu_model",
    "memory_bytes",
    "runtimes",
    "serves",
    "agent_version",
    "last_seen_at",
    "enrolled_at",
)


def csv_of(database: Database, meant: Selector) -> Iterator[bytes]:
    """Give the lines of a CSV file with a header; a column for each label that one of the devices has.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    with database.reading() as session:
        labels = _labels(session, meant)
    yield _lines([[*_BEFORE_LABELS, *(f"labels.{label}" for label in labels), *_AFTER_LABELS]])
    for batch in _batches(database, meant):
        yield _lines([_cells(document, labels) for document in batch])


def json_of(database: Database, meant: Selector) -> Iterator[bytes]:
    """Give the pieces of a JSON array with an object for each device."""
    separator = "["
    for batch in _batches(database, meant):
        yield (separator + ",\n".join(json.dumps(document, ensure_ascii=False) for document in batch)).encode()
        separator = ",\n"
    yield b"]\n" if separator != "[" else b"[]\n"


def _batches(database: Database, meant: Selector) -> Iterator[list[dict[str, Any]]]:
    after = ""
    while True:
        with database.reading() as session:
            # Along the ids each device is looked at by itself: no batch evaluates the selector over the whole fleet.
            query = select(DeviceRow).where(DeviceRow.id > after, condition(meant.expression, Scope.FEW))
            rows = list(session.scalars(query.order_by(DeviceRow.id).limit(_BATCH)))
            documents = [_document(row) for row in rows]
        if documents:
            yield documents
            after = documents[-1]["id"]
        if len(documents) < _BATCH:
            return


def _document(row: DeviceRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "online": row.online,
        "flapping": row.flapping,
        "labels": row.labels,
        **{name: row.facts.get(name) for name in ("hostname", "board", "cpu_model", "memory_bytes")},
        "runtimes": row.facts.get("runtimes", {}),
        "serves": served(row.reported),
        "agent_version": row.agent_version,
        "last_seen_at": None if row.last_seen_at is None else row.last_seen_at.isoformat(),
        "enrolled_at": row.enrolled_at.isoformat(),
    }


def _labels(session: Session, meant: Selector) -> list[str]:
    devices = select(DeviceRow.number).where(condition(meant.expression))
    query = select(DeviceTextRow.value).where(DeviceTextRow.path == LABELS, DeviceTextRow.device.in_(devices))
    return sorted(session.scalars(query.distinct()))


def _cells(document: dict[str, Any], labels: Sequence[str]) -> list[str]:
    return [
        *(_cell(document[name]) for name in _BEFORE_LABELS),
        *(_cell(document["labels"].get(label)) for label in labels),
        *(_cell(document[name]) for name in _AFTER_LABELS),
    ]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict():
            return _cell(" ".join(f"{name}/{value[name]}" for name in sorted(value)))
        case str() if value.startswith(_FORMULA):
            return f"'{value}"
        case _:
            return str(value)


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()
