"""Executions."""

from datetime import datetime
from typing import Any

from shoal.schemas.common import Response


class Execution(Response):
    """One device's share of something that the controller wants.

    Attributes:
        waiting_for: `{code, since, ...}`, why nothing moves; empty when nothing is waited for.
    """

    id: str
    kind: str
    device_id: str
    owner_id: str
    state: str
    attempt: int
    max_attempts: int
    waiting_for: dict[str, Any]
    progress: float
    code: str
    message: str
    result: dict[str, Any]
    deadline_at: datetime | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
