from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.components import chart, table
from dashboard.pages.activity import device_cell, event_row
from dashboard.pages.enrollment import agent_lines, service_lines, token_state
from dashboard.pages.incremental import update_row
from dashboard.pages.jobs import job_row
from dashboard.parts import part
from shoal.client import ApiError, Unreachable
from shoal.schemas.devices import EnrollmentToken, Event, NewEnrollmentToken
from shoal.schemas.incremental import IncrementalUpdate
from shoal.schemas.jobs import Job

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
TOKEN: dict[str, Any] = {
    "id": "t-1",
    "name": "",
    "labels": {},
    "needs_approval": False,
    "max_uses": 2,
    "uses": 0,
    "created_at": NOW - timedelta(hours=1),
    "expires_at": NOW + timedelta(hours=1),
    "revoked_at": None,
}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({}, "active"),
        ({"uses": 1}, "active"),
        ({"uses": 2}, "used up"),
        ({"uses": 2, "expires_at": NOW}, "expired"),
        ({"expires_at": NOW, "revoked_at": NOW}, "revoked"),
    ],
)
def test_token_when_shown_then_says_whether_it_still_enrols(told: dict[str, Any], state: str) -> None:
    assert token_state(EnrollmentToken(**{**TOKEN, **told}), NOW) == state


def test_token_when_made_then_its_lines_start_an_agent() -> None:
    made = NewEnrollmentToken(**TOKEN, token="secret.digest", device_url="https://controller:8443")
    assert agent_lines(made).splitlines() == [
        "export SHOAL_AGENT_CONTROLLER_URL=https://controller:8443",
        "export SHOAL_AGENT_TOKEN=secret.digest",
        "shoal-agent run",
    ]
    assert service_lines(made).splitlines() == [
        "echo secret.digest > token",
        "sudo shoal-agent install --controller-url https://controller:8443 --token-file token",
    ]


def job(**told: Any) -> Job:
    plain: dict[str, Any] = {
        "id": "j-1",
        "kind": "compress",
        "state": "running",
        "subject": "digits/2",
        "progress": 0.5,
        "message": "",
        "code": "",
        "result": {},
        "attempt": 1,
        "created_by": "admin",
        "created_at": NOW,
        "started_at": NOW - timedelta(seconds=90),
        "finished_at": None,
    }
    return Job(**{**plain, **told})


def test_job_when_it_runs_then_its_row_leads_to_the_version_and_says_how_long() -> None:
    row = job_row(job(), NOW)
    assert row["subject"] == table.link("digits/2", "/models/digits?version=2")
    assert row["took"] == table.noted("1 min 30 s", "")


def test_job_when_it_is_about_no_version_then_its_row_leads_nowhere() -> None:
    assert job_row(job(subject="digits/1 round 3"), NOW)["subject"] == "digits/1 round 3"


@pytest.mark.parametrize(
    ("ratio", "of", "level"),
    [(0.5, "running", "busy"), (1.0, "succeeded", "good"), (0.5, "timed_out", "bad"), (0.5, "canceled", "off")],
)
def test_progress_when_shown_then_its_colour_says_how_it_goes(ratio: float, of: str, level: str) -> None:
    assert table.progress(ratio, of=of) == {"ratio": ratio, "text": f"{ratio:.0%}", "level": level}


def update(result: dict[str, Any]) -> IncrementalUpdate:
    return IncrementalUpdate(
        id="u-1",
        policy_id="p-1",
        device_id="d-a",
        model="digits",
        base_version=2,
        result_version=None,
        state="learning",
        execution_id=None,
        evidence={"samples": 243, "population_stability_index": 0.412},
        result=result,
        message="",
        created_at=NOW,
        finished_at=None,
    )


def test_update_when_measured_then_its_row_says_before_and_after() -> None:
    row = update_row(update({"new_before": 0.02, "new_after": 0.93, "old_before": 0.967, "old_after": 0.958}), NOW)
    assert row["new"] == table.noted("2.0% → 93.0%", "+91.0 points")
    assert row["old"] == table.noted("96.7% → 95.8%", "-0.9 points")
    assert row["why"] == table.noted("drift after 243 samples", "PSI 0.41")


def test_update_when_it_has_not_ended_then_its_row_has_no_figures() -> None:
    row = update_row(update({}), NOW)
    assert (row["new"], row["old"]) == ("", "")


def test_event_when_about_a_rollout_then_its_row_leads_there() -> None:
    happened = Event(id="e", name="rollout.paused", subject="r-1", device_id=None, data={}, at=NOW)
    row = event_row(happened, NOW)
    assert row["what"] == table.link("Rollout r-1 paused itself.", "/rollouts/r-1")
    assert row["device"] == ""


def test_sender_when_it_is_no_device_then_its_cell_leads_nowhere() -> None:
    assert device_cell("unknown") == table.mono("unknown")


def test_points_when_they_lie_close_together_then_their_labels_stand_below_each_other() -> None:
    points = [(100.0, 0.97, "a"), (101.0, 0.97, "b"), (900.0, 0.97, "c")]
    (series,) = chart.scatter_chart({"version 1": points}, x_name="KiB")["series"]
    offsets = [point["label"]["offset"][1] for point in series["data"]]
    assert offsets == [-6.5, 6.5, 0.0]


def refuse(status: int, code: str) -> int:
    raise ApiError(status, code, "This controller comes without federated.", "", [])


def test_part_when_it_is_refused_then_says_why_in_its_place() -> None:
    found = part(lambda: refuse(503, "room.missing"))
    assert (found.value, found.refusal) == (None, "This controller comes without federated.")


def test_part_when_the_session_is_over_then_the_page_learns_it() -> None:
    with pytest.raises(ApiError):
        part(lambda: refuse(401, "auth.token_expired"))


def test_part_when_nobody_answers_then_the_page_learns_it() -> None:
    def ask() -> int:
        raise Unreachable

    with pytest.raises(Unreachable):
        part(ask)
