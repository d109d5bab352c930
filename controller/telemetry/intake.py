"""Messages into the database: one statement a batch, in the transaction of the gateway's batch.

No objects of the ORM and no savepoints: a thousand messages a second come in here. What is wrong with a message was
found before; the unique index makes each count once however often it is delivered.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow

_COLUMNS: Final = "device, session, sequence, received_at, begin_at, end_at, is_folded, body"
_SQLITE: Final = f"INSERT OR IGNORE INTO telemetry_messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_ARRIVING: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS telemetry_arriving (device bigint, session bigint, sequence bigint, "
    "received_at bigint, begin_at bigint, end_at bigint, is_folded boolean, body text) ON COMMIT DELETE ROWS"
)
_COPY: Final = f"COPY telemetry_arriving ({_COLUMNS}) FROM STDIN"
_MERGE: Final = (
    f"INSERT INTO telemetry_messages ({_COLUMNS}) SELECT {_COLUMNS} FROM telemetry_arriving "  # noqa: S608
    "ORDER BY device, session, sequence ON CONFLICT DO NOTHING"
)
_STANDING: Final = select(DeviceRow.number, DeviceRow.state, DeviceRow.state_reason).where(
    DeviceRow.number.in_(bindparam("numbers", expanding=True))
)


class Arrived(NamedTuple):
    """A message that is fit to be kept, as its row; times are microseconds since 1970."""

    device: int
    session: int
    sequence: int
    received_at: int
    begin_at: int
    end_at: int
    is_folded: bool
    body: str


def standing(session: Session, numbers: Iterable[int]) -> dict[int, tuple[DeviceState, str]]:
    """Give the state, and its reason, of each device that there is."""
    rows = session.connection().execute(_STANDING, {"numbers": list(numbers)})
    return {number: (DeviceState(state), reason) for number, state, reason in rows}


def keep(session: Session, arrived: Sequence[Arrived]) -> None:
    """Keep messages; those that are kept already stay as they are."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_SQLITE, list(arrived))
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        cursor.execute(_ARRIVING)
        with cursor.copy(_COPY) as copy:
            for row in arrived:
                copy.write_row(row)
        # In the order of the index: two gateways that are told the same things wait for each other, in no circle.
        cursor.execute(_MERGE)
