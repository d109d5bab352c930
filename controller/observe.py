"""What operators see of the controller itself: logs, process metrics, and durable counts of what was refused."""

import logging
from datetime import datetime
from typing import Final

from prometheus_client import Counter
from sqlalchemy.orm import Mapped, Session, mapped_column

from controller.db import Base, utc_now

MESSAGES: Final = Counter("shoal_messages", "Messages taken from devices, by kind.", ["kind"])
REFUSED: Final = Counter("shoal_refused", "Refusals by door and code.", ["door", "code"])
FAILURES: Final = Counter("shoal_failures", "Unexpected errors caught at a loop's edge.", ["loop"])


class RefusalRow(Base):
    """How often a device was refused for one reason. One row a device and code, so a flood cannot fill the disk.

    `device_id` is empty for senders that are not in the registry.
    """

    __tablename__ = "refusals"
    device_id: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    message: Mapped[str]
    last_at: Mapped[datetime]


def count_refusal(session: Session, *, door: str, device_id: str, code: str, message: str, times: int = 1) -> None:
    """Count a refusal, in the metrics and durably."""
    REFUSED.labels(door=door, code=code).inc(times)
    row = session.get(RefusalRow, (device_id, code), with_for_update=True)
    if row is None:
        row = RefusalRow(device_id=device_id, code=code, count=0, message="", last_at=utc_now())
        session.add(row)
    row.count += times
    # A part of it may be the sender's own text, with what no database keeps.
    row.message = "".join(letter if letter.isprintable() else "?" for letter in message[:500])
    row.last_at = utc_now()


def configure_logging(level: str) -> None:
    """Log to standard error, one line an event. Secrets are never passed to a logger."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
