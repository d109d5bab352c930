from datetime import UTC, datetime

import pytest

from shoal.schemas.executions import Command


@pytest.mark.parametrize(
    ("counts", "is_done", "outcome", "ended"),
    [
        ({"queued": 2, "failed": 1}, False, "running", 1),
        ({"succeeded": 3}, True, "succeeded", 3),
        ({}, True, "succeeded", 0),
        ({"succeeded": 3, "timed_out": 1}, True, "failed", 4),
        ({"succeeded": 1, "rejected": 1, "canceled": 1}, True, "failed", 3),
        ({"succeeded": 1, "canceled": 1}, True, "canceled", 2),
        ({"sent": 1, "in_progress": 1}, False, "running", 0),
    ],
)
def test_command_when_its_executions_are_counted_then_has_one_outcome(
    counts: dict[str, int], is_done: bool, outcome: str, ended: int
) -> None:
    command = Command(
        id="c",
        name="ping",
        selector="all",
        devices=sum(counts.values()),
        counts=counts,
        is_done=is_done,
        created_by="admin",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert (command.outcome(), command.ended()) == (outcome, ended)
