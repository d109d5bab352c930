from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from dashboard import wording
from dashboard.wording import Unreadable
from shoal.schemas.devices import Event
from shoal.schemas.rollouts import WaveRequest

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def happened(name: str, subject: str, **data: Any) -> Event:
    return Event(id="e", name=name, subject=subject, device_id=None, data=data, at=NOW)


def test_event_when_known_then_is_a_sentence() -> None:
    opened = happened("rollout.wave_opened", "0199f3c2-1111-7222-8333-0123456789ab", wave=2, devices=40)
    assert wording.event(opened) == "Rollout …456789ab opened wave 2, 40 devices."
    assert wording.event(happened("device.online", "d-asuaylnyppazmutt")) == "d-asuaylnyppazmutt came online."


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("device.asked_to_join", {"token": "t"}, "d-a asked to join and waits for approval."),
        (
            "device.asked_to_join",
            {"token": "t", "claims": "d-b"},
            "d-a asked to join and waits for approval. It looks like d-b.",
        ),
        ("device.approved", {}, "d-a was approved."),
        ("device.merged", {"claim": "d-b"}, "d-a goes on with the new key of its machine, which had asked as d-b."),
        ("device.suspended", {"reason": "stolen"}, "d-a was suspended: stolen."),
        ("device.suspended", {}, "d-a was suspended."),
        ("device.activated", {}, "d-a was activated again."),
        ("device.retired", {"reason": "broken"}, "d-a was retired: broken."),
        ("device.cloned", {"session": 4, "boot_id": "b"}, "Two machines use the identity of d-a."),
        ("certificate.renewed", {}, "d-a got a fresh certificate."),
        (
            "command.created",
            {"command": "restart_agent", "devices": 3},
            "A command was given: restart agent, 3 devices.",
        ),
        ("broker.synced", {"revision": 7}, "A broker follows revision 7 of whom it shall shut out."),
    ],
)
def test_event_when_about_trust_or_commands_then_is_a_sentence(name: str, data: dict[str, Any], said: str) -> None:
    assert wording.event(happened(name, "d-a", **data)) == said


def test_answer_when_it_says_nothing_of_an_agent_then_is_empty() -> None:
    assert wording.answer({}) == ""


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
