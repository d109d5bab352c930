from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.components import table
from dashboard.components.layout import Anchor
from dashboard.pages.commands import answers, command_row
from dashboard.pages.devices import device_row
from dashboard.pages.executions import execution_row, owner_address
from dashboard.pages.identity import (
    alarm,
    approval_question,
    certificate_row,
    certificate_state,
    identity_facts,
    session_row,
)
from dashboard.pages.pending import pending_words
from shoal.schemas.devices import Certificate, Device, DeviceSession
from shoal.schemas.executions import Command, Execution

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def device(**told: Any) -> Device:
    plain: dict[str, Any] = {
        "id": "d-asuaylnyppazmutt",
        "state": "active",
        "state_reason": "",
        "hardware_id": "0123456789abcdef",
        "claims_device_id": None,
        "key_id": "56475aa75463474c",
        "enrollment_token_id": "01a214f1-0e72-75e6-b819-f21780093309",
        "online": True,
        "flapping": False,
        "labels": {},
        "groups": [],
        "facts": {"hostname": "pi-7", "system": "Linux", "machine": "aarch64"},
        "slots": [],
        "desired": (1, 0),
        "reported": (1, 0),
        "agent_version": "0.1.0",
        "online_since": NOW,
        "last_seen_at": NOW,
        "enrolled_at": NOW - timedelta(minutes=3),
        "certificate_expires_at": NOW + timedelta(days=30),
    }
    return Device(**{**plain, **told})


def certificate(**told: Any) -> Certificate:
    plain: dict[str, Any] = {
        "serial": "5f3a9c0011223344",
        "issued_at": NOW - timedelta(days=1),
        "expires_at": NOW + timedelta(days=29),
        "revoked_at": None,
        "reason": "",
    }
    return Certificate(**{**plain, **told})


def session(**told: Any) -> DeviceSession:
    plain: dict[str, Any] = {
        "session": 4,
        "instance": "a" * 32,
        "boot_id": "b",
        "agent_version": "0.1.0",
        "begun_at": NOW - timedelta(hours=2),
        "ended_at": None,
        "end": "",
    }
    return DeviceSession(**{**plain, **told})


def execution(**told: Any) -> Execution:
    plain: dict[str, Any] = {
        "id": "e-1",
        "kind": "command",
        "device_id": "d-asuaylnyppazmutt",
        "owner_id": "c-1",
        "state": "queued",
        "attempt": 1,
        "max_attempts": 3,
        "priority": 30,
        "waiting_for": {"code": "device_offline"},
        "progress": 0.0,
        "code": "",
        "message": "",
        "result": {},
        "deadline_at": None,
        "not_before": None,
        "expires_at": NOW + timedelta(days=1),
        "created_at": NOW - timedelta(seconds=10),
        "updated_at": NOW,
        "finished_at": None,
    }
    return Execution(**{**plain, **told})


def test_pending_machine_when_shown_then_says_what_is_known_of_it() -> None:
    machine = device(state="pending")
    said = "d-asuaylnyppazmutt, hardware 0123456789ab…, Linux aarch64, asked 3 min ago"
    assert pending_words(machine, NOW) == said
    bare = device(state="pending", hardware_id=None, facts={})
    assert pending_words(bare, NOW) == "d-asuaylnyppazmutt, hardware not told, asked 3 min ago"


def test_device_when_suspended_then_its_row_says_why() -> None:
    assert device_row(device(state="suspended", state_reason="stolen"), NOW)["state"] == table.state(
        "suspended", note="stolen"
    )


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({}, "good"),
        ({"expires_at": NOW}, "expired"),
        ({"revoked_at": NOW}, "revoked"),
        ({"revoked_at": NOW, "expires_at": NOW}, "revoked"),
    ],
)
def test_certificate_when_shown_then_says_whether_it_is_good(told: dict[str, Any], state: str) -> None:
    assert certificate_state(certificate(**told), NOW) == state


def test_certificate_when_revoked_then_its_row_says_when_and_why() -> None:
    row = certificate_row(certificate(revoked_at=NOW - timedelta(hours=1), reason="stolen"), NOW)
    assert row["revoked"] == table.noted("1 h ago", "stolen")
    assert row["serial"] == table.mono("5f3a9c001122…", title="5f3a9c0011223344")


def test_identity_when_shown_then_says_when_its_certificate_ends_and_renews_itself() -> None:
    revoked = certificate(serial="old", revoked_at=NOW)
    facts = dict(identity_facts(device(), [certificate(), revoked], NOW))
    assert facts["State"] == "active"
    assert facts["Hardware"] == "0123456789ab…"
    assert facts["Ends"] == "in 29 d; renews itself in 19 d"
    assert facts["Revoked"] == "1 certificate"


def test_identity_when_its_certificate_should_have_been_renewed_then_says_when_it_will_be() -> None:
    old = certificate(issued_at=NOW - timedelta(days=25), expires_at=NOW + timedelta(days=5))
    facts = dict(identity_facts(device(), [old], NOW))
    assert facts["Ends"] == "in 5 d; renews itself when it is online"


def test_identity_when_a_machine_waits_then_leads_to_the_device_that_it_looks_like() -> None:
    facts = dict(identity_facts(device(state="pending", claims_device_id="d-old"), [], NOW))
    assert facts["Looks like"] == Anchor("d-old, by its hardware", "/devices/d-old")
    assert facts["Certificate"] == "none until it is approved"
    assert facts["Asked to join"] == "3 min ago"


def test_approval_when_asked_for_one_then_says_what_it_becomes() -> None:
    assert approval_question([device(state="pending", claims_device_id="d-old")]).splitlines() == [
        "Approve pi-7 as a device of its own?",
        "It becomes d-asuaylnyppazmutt, with a certificate and the labels of its token.",
        "It looks like d-old: merge instead what was only installed anew.",
    ]


@pytest.mark.parametrize(
    ("claims", "last"),
    [
        ([None, None], "Each gets a certificate and the labels of its token."),
        ([None, "d-old"], "1 of them looks like d-old: merge instead what was only installed anew."),
        (
            ["d-b", None, "d-old"],
            "2 of them look like devices that are known: merge instead what was only installed anew.",
        ),
    ],
)
def test_approval_when_asked_for_several_then_says_which_are_known(claims: list[str | None], last: str) -> None:
    question = approval_question([device(state="pending", claims_device_id=claimed) for claimed in claims])
    assert question.startswith(f"Approve {len(claims)} machines")
    assert question.splitlines()[-1] == last


def test_alarm_when_a_device_was_cloned_then_says_what_to_do() -> None:
    assert "Find the copy" in alarm(device(state="suspended", state_reason="cloned"))
    assert alarm(device(state="suspended", state_reason="stolen")) == ""
    assert alarm(device()) == ""


def test_session_when_it_is_open_then_its_row_says_how_long_it_lasts() -> None:
    row = session_row(session(), NOW)
    assert (row["ended"], row["end"]) == ("2 h", table.state("open"))


def test_session_when_it_came_late_then_its_row_says_what_that_may_mean() -> None:
    row = session_row(session(end="late", ended_at=NOW), NOW)
    assert row["end"] == table.state("late", note="a copy of the device?")


def test_execution_when_it_waits_then_its_row_says_for_what_and_how_long_it_is_good() -> None:
    row = execution_row(execution(), NOW)
    assert row["waiting"] == "device offline"
    assert (row["attempt"], row["at"]) == ("1 of 3", table.noted("10 s ago", "expires in 1 d"))
    assert row["kind"] == table.link("command", "/executions?owner=c-1", note="high priority")


def test_execution_when_it_has_ended_then_its_row_says_why() -> None:
    ended = execution(state="failed", code="golden.failed", message="3 of 32 differ.", finished_at=NOW)
    row = execution_row(ended, NOW)
    assert (row["message"], row["at"]) == (table.noted("golden.failed", "3 of 32 differ."), "10 s ago")


def test_execution_when_its_device_is_at_work_then_its_row_says_how_far() -> None:
    row = execution_row(execution(state="in_progress", progress=0.4), NOW)
    assert row["state"] == table.state("in_progress", note="40% done")


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("rollout_step", "/rollouts/o"),
        ("incremental_update", "/incremental"),
        ("federated_round", "/executions?owner=o"),
        ("command", "/executions?owner=o"),
    ],
)
def test_execution_when_shown_then_leads_to_what_wanted_it(kind: str, address: str) -> None:
    assert owner_address(execution(kind=kind, owner_id="o")) == address


def test_command_when_some_have_answered_then_its_row_counts_them() -> None:
    command = Command(
        id="c-1",
        name="restart_agent",
        selector="all",
        devices=4,
        counts={"succeeded": 1, "in_progress": 1, "queued": 2},
        is_done=False,
        created_by="admin",
        created_at=NOW,
    )
    row = command_row(command, NOW)
    assert row["name"] == table.link("restart agent", "/executions?owner=c-1")
    assert row["progress"] == table.progress(0.25, "1 of 4", of="running")
    assert row["counts"] == "1 in progress, 2 queued, 1 succeeded"
    assert row["cancel"] == table.action("Cancel")


def test_answers_when_a_device_was_asked_then_say_what_it_answered() -> None:
    result = {"agent_version": "0.1.0", "uptime_s": 61.0, "sessions": 2}
    given = [
        execution(),
        execution(owner_id="c-2", state="succeeded", result=result, finished_at=NOW),
        execution(owner_id="c-3", state="rejected", code="command.unknown", finished_at=NOW),
        execution(kind="rollout_step", owner_id="r"),
    ]
    assert answers(given, {"c-1": "ping", "c-2": "restart_agent"}, NOW) == [
        ("ping", "queued", "device offline", ""),
        ("restart agent", "succeeded", "agent 0.1.0, up 1 min, session 2; now, after 10.0 s", ""),
        ("command", "rejected", "command.unknown; now, after 10.0 s", ""),
    ]
