from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoal.schemas.waiting import waiting

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SINCE = (NOW - timedelta(minutes=3, seconds=20)).isoformat()
SOON = (NOW + timedelta(seconds=8)).isoformat()


@pytest.mark.parametrize(
    ("waiting_for", "said"),
    [
        ({}, ""),
        ({"code": "wave"}, "its wave"),
        ({"code": "device_offline", "since": SINCE}, "device offline for 3 min"),
        ({"code": "device_offline"}, "device offline"),
        ({"code": "device_answer", "since": SINCE}, "device has not answered for 3 min"),
        ({"code": "device_answer"}, "device has not answered"),
        ({"code": "device_suspended", "since": SINCE, "reason": "stolen"}, "device suspended for 3 min: stolen"),
        ({"code": "device_suspended", "since": SINCE, "reason": ""}, "device suspended for 3 min"),
        (
            {"code": "device_busy", "since": SINCE, "kind": "federated_round", "limit": 1},
            "device busy: it does 1 federated round at a time",
        ),
        ({"code": "device_busy", "kind": "command", "limit": 4}, "device busy: it does 4 commands at a time"),
        ({"code": "device_busy", "kind": "rollout_step", "limit": 0}, "device busy"),
        ({"code": "device_busy", "limit": "many"}, "device busy"),
        (
            {"code": "retry_at", "since": SINCE, "at": SOON, "cause": "artifact.no_space"},
            "retry in 8 s after artifact.no_space",
        ),
        ({"code": "retry_at", "since": SINCE, "at": SINCE, "cause": ""}, "retry now"),
        ({"code": "retry_at", "at": "soon"}, "retry at"),
        ({"code": "window_closed", "since": SINCE}, "window closed for 3 min"),
    ],
)
def test_waiting_when_an_execution_does_not_move_then_says_why(waiting_for: dict[str, Any], said: str) -> None:
    assert waiting(waiting_for, NOW) == said
