from typing import Any

import pytest
from pydantic import ValidationError

from shoal.schemas.executions import CommandRequest


def test_log_bytes_when_a_log_is_wanted_then_are_kept() -> None:
    assert CommandRequest(name="collect_logs", selector="all", log_bytes=4096).log_bytes == 4096


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "ping", "log_bytes": 4096}, "log_bytes belongs to collect_logs alone"),
        ({"name": "collect_logs", "log_bytes": 1023}, "greater than or equal to 1024"),
        ({"name": "collect_logs", "log_bytes": 2**24 + 1}, "less than or equal to 16777216"),
        ({"name": "open_shell"}, "'forget_data'"),
        ({"name": "ping", "command": "ls"}, "Extra inputs are not permitted"),
    ],
)
def test_command_when_it_asks_for_what_there_is_not_then_is_refused(body: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CommandRequest.model_validate({"selector": "all", **body})
