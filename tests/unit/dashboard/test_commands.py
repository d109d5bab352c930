"""What a device's answer says, and where its log is."""

from typing import Any

import pytest

from dashboard import wording
from dashboard.pages.commands import COMMANDS, log_path
from shoal.schemas.executions import CommandRequest, Execution
from tests.unit.dashboard.test_identity import execution

ANSWER: dict[str, Any] = {"agent_version": "0.1.0", "uptime_s": 61.0, "sessions": 2}
LOG = {**ANSWER, "log": {"sha256": "a" * 64, "size_bytes": 2048}}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (LOG, "2.0 KiB of its log"),
        ({**ANSWER, "measured": {"measured_at": "now", "fp32_macs_per_s": 2e9}}, "fp32 2 GMAC/s"),
        ({**ANSWER, "forgotten": {"datasets": 1024, "telemetry": 0}}, "deleted 1.0 KiB of datasets, 0 B of telemetry"),
        ({"answer": 42}, ""),
    ],
)
def test_answer_when_shown_then_says_what_the_command_gave(result: dict[str, Any], words: str) -> None:
    assert wording.answer(result) == words


@pytest.mark.parametrize(
    ("state", "result", "is_there"),
    [("succeeded", LOG, True), ("failed", LOG, False), ("succeeded", ANSWER, False), ("in_progress", {}, False)],
)
def test_log_when_a_device_sent_one_then_can_be_downloaded(state: str, result: dict[str, Any], is_there: bool) -> None:
    one: Execution = execution(state=state, result=result)
    assert (log_path(one) == f"/executions/{one.id}/log") is is_there


def test_commands_when_offered_in_the_form_then_are_those_of_the_api() -> None:
    assert {CommandRequest.model_validate({"name": name, "selector": "all"}).name for name in COMMANDS} == set(COMMANDS)
