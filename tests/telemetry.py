"""A controller's telemetry for tests: its gateway's router, its folds and its queries, without a broker."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import func, select

from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.events import OutboxRow
from controller.gateway import router
from controller.gateway.access import Inbound
from controller.gateway.telemetry import TelemetryDoor
from controller.observe import RefusalRow
from controller.settings import Settings
from controller.telemetry import fold, service
from shoal.wire import envelope, topics
from shoal.wire.telemetry import Telemetry
from tests.databases import make_tables
from tests.rows import add_device

CAM = "d-abcdefghijklmno2"
PRESS = "d-abcdefghijklmno3"
STEP_S = 900


@dataclass(frozen=True)
class House:
    database: Database
    blobs: BlobStore
    settings: Settings
    door: TelemetryDoor

    def take(self, *batch: Inbound, now: datetime | None = None) -> None:
        with self.database.transaction() as session:
            router.take(session, batch, self.blobs, self.door, now or utc_now())

    def fold(self, limit: int = fold.BATCH) -> int:
        with self.database.transaction() as session:
            return fold.fold(session, STEP_S, utc_now(), limit=limit)

    def count(self, table: Any) -> int:
        with self.database.reading() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def refusals(self) -> dict[tuple[str, str], int]:
        with self.database.reading() as session:
            return {(row.device_id, row.code): row.count for row in session.scalars(select(RefusalRow))}

    def answers(self) -> list[dict[str, Any]]:
        with self.database.reading() as session:
            rows = session.scalars(select(OutboxRow).where(OutboxRow.kind == "refusal").order_by(OutboxRow.id))
            return [msgspec.json.decode(row.body) for row in rows]

    def series(self, now: datetime | None = None, **wanted: Any) -> service.Series:
        asked = {"device": None, "selector": None, "begin": None, "end": None, "step_s": None, **wanted}
        with self.database.reading() as session:
            return service.series(session, service.Wanted(**asked), self.settings, now or utc_now())


def open_house(database: Database, folder: Path) -> House:
    """Give a house with two devices."""
    make_tables(database)
    with database.transaction() as session:
        add_device(session, CAM, labels={"site": "lyon"})
        add_device(session, PRESS, labels={"site": "nice"})
    settings = Settings(state=folder)
    return House(database, BlobStore((folder / "blobs").as_uri()), settings, TelemetryDoor(settings))


def message(begin: float, *, device: str = CAM, sequence: int = 1, **others: Any) -> Inbound:
    columns: dict[str, Any] = {"offsets": [0.0, 10.0], "series": {"cpu.ratio": [0.5, 0.25]}, **others}
    sample = Telemetry(id=f"1-{sequence}", session=1, sequence=sequence, begin=begin, **columns)
    topic = topics.up(device, "telemetry")
    return Inbound(topic, envelope.seal(sample, topic=topic))


def raw(body: str, device: str = CAM) -> Inbound:
    topic = topics.up(device, "telemetry")
    return Inbound(topic, envelope.seal_text("telemetry", body, topic=topic))
