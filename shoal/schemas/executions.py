"""Executions, and the commands that operators give."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shoal.schemas.common import Request, Response, Selector


class Execution(Response):
    """One device's share of something that the controller wants.

    Attributes:
        waiting_for: `{code, since, ...}`, why nothing moves; empty when nothing is waited for. Codes: `device_offline`,
            `device_suspended`, `device_busy`, `device_answer`, `retry_at`.
        code, message: Why it ended as it did; of an open one, why its last attempt failed.
        priority: 10 low, 20 normal, 30 high.
        expires_at: It ends then, whatever it waits for.
    """

    id: str
    kind: str
    device_id: str
    owner_id: str
    state: str
    attempt: int
    max_attempts: int
    priority: int
    waiting_for: dict[str, Any]
    progress: float
    code: str
    message: str
    result: dict[str, Any]
    deadline_at: datetime | None
    not_before: datetime | None
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class CommandRequest(Request):
    """`POST /v1/commands`: ask active devices for something once.

    Attributes:
        expires_in_s: Devices that did not come online until then are not asked any more.
        log_bytes: Of `collect_logs` alone: at most so much of the log's end; 1 MiB where it is not said.
    """

    name: Literal["ping", "restart_agent", "collect_logs", "benchmark", "forget_data"]
    selector: Selector
    priority: Literal["low", "normal", "high"] = "high"
    expires_in_s: float = Field(default=86_400, ge=10, le=90 * 86_400)
    log_bytes: int | None = Field(default=None, ge=1024, le=16 * 2**20)

    @model_validator(mode="after")
    def _only_of_its_command(self) -> Self:
        if self.log_bytes is not None and self.name != "collect_logs":
            raise ValueError("log_bytes belongs to collect_logs alone")
        return self


class Command(Response):
    """A command and how far its executions are.

    Attributes:
        counts: Executions by state.
    """

    id: str
    name: str
    selector: str
    devices: int
    counts: dict[str, int]
    is_done: bool
    created_by: str
    created_at: datetime

    def outcome(self) -> str:
        """Give the state of the command as a whole: `running`, `succeeded`, `failed` or `canceled`."""
        if not self.is_done:
            return "running"
        if any(self.counts.get(state) for state in ("failed", "rejected", "timed_out")):
            return "failed"
        return "canceled" if self.counts.get("canceled") else "succeeded"

    def ended(self) -> int:
        """Count the devices that need not be waited for any more."""
        return sum(count for state, count in self.counts.items() if state not in ("queued", "sent", "in_progress"))
