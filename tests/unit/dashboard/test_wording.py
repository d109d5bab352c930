from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from dashboard import wording
from dashboard.wording import Unreadable
from shoal.schemas.devices import Event
from shoal.schemas.rollouts import WaveRequest

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SINCE = (NOW - timedelta(minutes=3, seconds=20)).isoformat()


@pytest.mark.parametrize(
    ("waiting_for", "said"),
    [
        ({}, ""),
        ({"code": "wave"}, "its wave"),
        ({"code": "device_offline", "since": SINCE}, "device offline since 3 min"),
        ({"code": "device_offline"}, "device offline"),
        ({"code": "device_answer", "since": SINCE}, "device has not answered for 3 min"),
        ({"code": "retry_at", "since": SINCE, "at": (NOW + timedelta(seconds=8)).isoformat()}, "retry in 8 s"),
        ({"code": "retry_at", "since": SINCE, "at": SINCE}, "retry now"),
        ({"code": "retry_at", "at": "soon"}, "retry at"),
        ({"code": "window_closed", "since": SINCE}, "window closed since 3 min"),
    ],
)
def test_waiting_when_an_execution_does_not_move_then_says_why(waiting_for: dict[str, Any], said: str) -> None:
    assert wording.waiting(waiting_for, NOW) == said


def happened(name: str, subject: str, **data: Any) -> Event:
    return Event(id="e", name=name, subject=subject, device_id=None, data=data, at=NOW)


def test_event_when_known_then_is_a_sentence() -> None:
    opened = happened("rollout.wave_opened", "0199f3c2-1111-7222-8333-0123456789ab", wave=2, devices=40)
    assert wording.event(opened) == "Rollout …456789ab opened wave 2, 40 devices."
    assert wording.event(happened("device.online", "d-asuaylnyppazmutt")) == "d-asuaylnyppazmutt came online."


def test_event_when_its_data_lack_something_then_is_a_sentence_still() -> None:
    assert wording.event(happened("rollout.finished", "r")) == "Rollout r ended: ?."


def test_event_when_unknown_then_is_told_by_its_name() -> None:
    assert wording.event(happened("alert.cpu_hot", "d-a")) == "alert cpu hot: d-a"


@pytest.mark.parametrize("text", ["", " , ", "half", "0", "-1", "150%", "0%", "1, x%", "1.5"])
def test_waves_when_they_cannot_be_read_then_says_what_is_expected(text: str) -> None:
    with pytest.raises(Unreadable, match="such as"):
        wording.parse_waves(text)


@pytest.mark.parametrize("text", ["site", "=lyon", "a=b\nnonsense"])
def test_labels_when_they_cannot_be_read_then_says_what_is_expected(text: str) -> None:
    with pytest.raises(Unreadable, match="name=value"):
        wording.parse_labels(text)


def test_invalid_when_a_request_is_refused_before_it_is_sent_then_says_which_field() -> None:
    with pytest.raises(ValidationError) as caught:
        WaveRequest(count=0)
    assert wording.invalid(caught.value) == "Count: input should be greater than or equal to 1."
