"""Alert rules over what devices send, on both databases."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from controller.db import Database, utc_now
from controller.devices import identity
from controller.devices import service as devices
from controller.errors import Conflict, Invalid, NotFound
from controller.events import EventRow
from controller.telemetry import rules, watching
from controller.telemetry.tables import AlertRow, AlertWatchRow
from shoal.schemas.telemetry import AlertRuleChange, AlertRuleRequest
from tests.telemetry import CAM, PRESS, House, message, open_house

HEAT = "temperature.cpu_celsius"


@pytest.fixture
def house(empty_database: Database, tmp_path: Path) -> House:
    return open_house(empty_database, tmp_path)


def add_rule(house: House, **others: Any) -> None:
    wanted: dict[str, Any] = {
        "name": "hot",
        "selector": 'labels.site == "lyon"',
        "kind": HEAT,
        "condition": "above",
        "threshold": 80.0,
        **others,
    }
    with house.database.transaction() as session:
        rules.create(session, AlertRuleRequest(**wanted), "test")


def say(house: House, figures: list[float | None], *, sequence: int, ago_s: float = 60, device: str = CAM) -> None:
    begin = utc_now().timestamp() - ago_s
    columns = {"offsets": [float(index) for index in range(len(figures))], "series": {HEAT: figures}}
    house.take(message(begin, sequence=sequence, device=device, **columns))
    assert house.fold() == 1


def pass_time(house: House, now: datetime | None = None) -> None:
    for step in (watching.advance, watching.sweep):
        with house.database.transaction() as session:
            step(session, now or utc_now())


def found(house: House) -> list[tuple[str, str, str, float | None]]:
    with house.database.reading() as session:
        rows = session.scalars(select(AlertRow).order_by(AlertRow.id))
        return [(row.rule, row.device_id, row.state, row.value) for row in rows]


def happened(house: House) -> list[str]:
    with house.database.reading() as session:
        query = select(EventRow).where(EventRow.name.startswith("alert.")).order_by(EventRow.id)
        return [f"{row.name} {row.data['rule']} {row.device_id}" for row in session.scalars(query)]


def test_threshold_when_crossed_on_a_device_that_is_meant_then_fires_and_is_resolved(house: House) -> None:
    add_rule(house)
    say(house, [70.0, 81.0], sequence=1, ago_s=60)
    say(house, [95.0], sequence=1, device=PRESS)
    assert found(house) == [("hot", CAM, "firing", 81.0)]
    say(house, [79.0], sequence=2, ago_s=30)
    assert found(house) == [("hot", CAM, "resolved", 79.0)]
    assert happened(house) == [f"alert.fired hot {CAM}", f"alert.resolved hot {CAM}"]


def test_alert_when_it_comes_and_goes_within_a_message_then_each_time_is_told(house: House) -> None:
    add_rule(house)
    say(house, [81.0, 79.0, None, 82.0, 79.0, 83.0], sequence=1)
    assert [state for _, _, state, _ in found(house)] == ["resolved", "resolved", "firing"]
    assert len(happened(house)) == 5


def test_pending_when_time_passes_without_a_sample_then_fires(house: House) -> None:
    add_rule(house, for_s=120)
    say(house, [81.0], sequence=1, ago_s=60)
    pass_time(house)
    assert found(house) == [("hot", CAM, "pending", 81.0)]
    assert happened(house) == []
    pass_time(house, utc_now() + timedelta(seconds=61))
    assert found(house) == [("hot", CAM, "firing", 81.0)]


def test_pending_when_a_sample_ends_it_then_nobody_has_heard_of_it(house: House) -> None:
    add_rule(house, for_s=120)
    say(house, [81.0], sequence=1, ago_s=60)
    say(house, [70.0], sequence=2, ago_s=30)
    assert (found(house), happened(house)) == ([], [])


def test_samples_when_older_than_what_was_judged_then_say_nothing(house: House) -> None:
    add_rule(house)
    say(house, [70.0], sequence=2, ago_s=60)
    say(house, [95.0], sequence=1, ago_s=600)
    assert found(house) == []


def test_silence_when_long_then_fires_and_the_next_sample_ends_it(house: House) -> None:
    add_rule(house, name="silent", condition="absent", threshold=None, for_s=300)
    say(house, [50.0], sequence=1)
    pass_time(house)
    pass_time(house, utc_now() + timedelta(seconds=200))
    assert found(house) == []
    late = utc_now() + timedelta(seconds=400)
    pass_time(house, late)
    pass_time(house, late)
    assert found(house) == [("silent", CAM, "firing", None)]
    say(house, [50.0], sequence=2, ago_s=0.5)
    assert [state for _, _, state, _ in found(house)] == ["resolved"]
    assert happened(house) == [f"alert.fired silent {CAM}", f"alert.resolved silent {CAM}"]


def test_silence_when_the_device_was_never_heard_then_counts_from_when_it_is_watched(house: House) -> None:
    add_rule(house, name="silent", selector="all", condition="absent", threshold=None, for_s=300)
    pass_time(house)
    assert house.count(AlertWatchRow) == 2
    pass_time(house, utc_now() + timedelta(seconds=301))
    assert {device for _, device, _, _ in found(house)} == {CAM, PRESS}


def test_rate_when_samples_of_several_messages_rise_then_fires(house: House) -> None:
    add_rule(house, name="rising", condition="rising", threshold=0.5, window_s=60)
    say(house, [20.0], sequence=1, ago_s=200)
    say(house, [21.0], sequence=2, ago_s=150)
    assert found(house) == []
    say(house, [80.0], sequence=3, ago_s=100)
    ((_, _, state, value),) = found(house)
    assert state == "firing"
    assert value == pytest.approx(59 / 50, rel=0.01)


def test_rule_when_disabled_or_deleted_then_its_alerts_end(house: House) -> None:
    add_rule(house)
    add_rule(house, name="warm", threshold=60.0)
    say(house, [81.0], sequence=1)
    with house.database.transaction() as session:
        rules.change(session, "hot", AlertRuleChange(is_enabled=False), utc_now())
        rules.remove(session, "warm", utc_now())
    assert [state for _, _, state, _ in found(house)] == ["resolved", "resolved"]
    say(house, [85.0], sequence=2, ago_s=30)
    assert len(found(house)) == 2


def test_device_when_suspended_then_its_alerts_end(house: House) -> None:
    add_rule(house)
    say(house, [81.0], sequence=1)
    with house.database.transaction() as session:
        identity.suspend(session, CAM, "test", utc_now())
    pass_time(house)
    assert [state for _, _, state, _ in found(house)] == ["resolved"]


def test_device_when_no_longer_meant_then_its_alert_ends_and_nobody_waits_for_it(house: House) -> None:
    add_rule(house)
    add_rule(house, name="silent", condition="absent", threshold=None, for_s=300)
    say(house, [81.0], sequence=1)
    pass_time(house)
    with house.database.transaction() as session:
        devices.get(session, CAM).labels = {"site": "nice"}
    pass_time(house, utc_now() + timedelta(seconds=400))
    pass_time(house, utc_now() + timedelta(seconds=800))
    assert found(house) == [("hot", CAM, "resolved", 81.0)]
    assert house.count(AlertWatchRow) == 0


def test_rule_when_it_makes_no_sense_then_is_refused_by_name(house: House) -> None:
    add_rule(house)
    for code, kind, others in (
        ("alert_rule.exists", Conflict, {}),
        ("alert_rule.threshold_missing", Invalid, {"name": "a", "threshold": None}),
        ("alert_rule.threshold_extra", Invalid, {"name": "a", "condition": "absent", "for_s": 60}),
        ("alert_rule.too_short", Invalid, {"name": "a", "condition": "absent", "threshold": None}),
        ("alert_rule.threshold_negative", Invalid, {"name": "a", "condition": "falling", "threshold": -1}),
        ("selector.unknown_field", Invalid, {"name": "a", "selector": "nothing == 1"}),
    ):
        with pytest.raises(kind) as refused:
            add_rule(house, **others)
        assert refused.value.code == code  # type: ignore[attr-defined]
    with pytest.raises(NotFound), house.database.transaction() as session:
        rules.remove(session, "none", utc_now())


def test_alert_when_acknowledged_then_the_first_name_stays_and_one_that_ended_is_refused(house: House) -> None:
    add_rule(house)
    say(house, [81.0], sequence=1)
    with house.database.transaction() as session:
        alert_id = session.scalars(select(AlertRow.id)).one()
        assert rules.acknowledge(session, alert_id, "ada").acknowledged_by == "ada"
        assert rules.acknowledge(session, alert_id, "bob").acknowledged_by == "ada"
    say(house, [10.0], sequence=2, ago_s=30)
    with pytest.raises(Conflict), house.database.transaction() as session:
        rules.acknowledge(session, alert_id, "bob")


def test_alerts_when_they_ended_long_ago_then_are_forgotten(house: House) -> None:
    add_rule(house)
    say(house, [81.0, 10.0, 82.0], sequence=1)
    with house.database.transaction() as session:
        rules.prune(session, 86_400.0, utc_now() + timedelta(days=2))
    assert [state for _, _, state, _ in found(house)] == ["firing"]
