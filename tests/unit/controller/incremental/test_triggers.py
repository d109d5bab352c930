"""Triggers: which evidence starts an update."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.incremental.triggers import COOLDOWN, Situation, obstacle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DRIFTED = Situation(
    drift_detected=True,
    is_policy_active=True,
    can_train=True,
    version=2,
    serving_version=2,
    has_open_update=False,
    last_finished_at=None,
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"drift_detected": False}, "no_drift"),
        ({"is_policy_active": False}, "policy_inactive"),
        ({"can_train": False}, "cannot_train"),
        ({"serving_version": 1}, "other_version"),
        ({"serving_version": None}, "other_version"),
        ({"has_open_update": True}, "already_learning"),
        ({"last_finished_at": NOW - COOLDOWN / 2}, "cooldown"),
        ({"last_finished_at": NOW - COOLDOWN}, ""),
    ],
)
def test_obstacle_when_the_situation_is_so_then_is(change: dict[str, Any], reason: str) -> None:
    assert obstacle(replace(DRIFTED, **change), NOW) == reason
