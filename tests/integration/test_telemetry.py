"""Telemetry from the gateway's batch to charts, on both databases."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from controller.db import Database, utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import number_of
from controller.errors import Invalid, NotFound
from controller.gateway import router
from controller.gateway.access import Inbound
from controller.gateway.telemetry import TelemetryDoor
from controller.settings import Settings
from controller.telemetry import fold, service
from controller.telemetry.tables import LatestRow, MessageRow, RollupRow
from shoal.wire import topics
from tests.rows import add_device
from tests.telemetry import CAM, PRESS, STEP_S, House, message, open_house, raw


@pytest.fixture
def house(empty_database: Database, tmp_path: Path) -> House:
    return open_house(empty_database, tmp_path)


@pytest.fixture
def begin() -> Iterator[float]:
    """The beginning of a step of time, a little while ago."""
    yield (utc_now().timestamp() - 2 * STEP_S) // STEP_S * STEP_S


def test_message_when_delivered_again_then_counts_once(house: House, begin: float) -> None:
    one = message(begin)
    house.take(one, one)
    house.take(one)
    assert house.count(MessageRow) == 1
    assert house.fold() == 1
    house.take(one)
    assert house.fold() == 0
    assert house.series(kind="cpu.ratio", device=CAM).points[0].count == 1
    with house.database.reading() as session:
        assert service.latest(session, CAM).figures == {"cpu.ratio": 0.25}


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"series": {"cpu.ratio": [0.5]}}, "telemetry.ragged"),
        ({"offsets": [10.0, 0.0]}, "telemetry.disordered"),
        ({"offsets": [0.0, 7200.0]}, "telemetry.from_future"),
        ({"begin": 1e9}, "telemetry.too_old"),
        ({"series": {"cpu.ratio": [0.5, 1.5]}}, "telemetry.wrong_unit"),
        ({"series": {"temperature.cpu_celsius": [None, 300.0]}}, "telemetry.wrong_unit"),
        ({"series": {"power.watts": [-1.0, None]}}, "telemetry.wrong_unit"),
    ],
)
def test_message_when_it_cannot_be_then_is_refused_by_name_and_holds_up_no_other(
    house: House, begin: float, others: dict[str, Any], code: str
) -> None:
    bad = message(others.get("begin", begin), sequence=2, **{k: v for k, v in others.items() if k != "begin"})
    house.take(message(begin, sequence=1), bad, message(begin, sequence=3))
    assert house.count(MessageRow) == 2
    assert house.refusals() == {(CAM, code): 1}
    assert [(answer["message_id"], answer["code"]) for answer in house.answers()] == [("1-2", code)]


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-Infinity", "1e999", '"1"', "true", "\x00"])
def test_figure_when_it_is_no_number_then_the_message_is_malformed(house: House, begin: float, figure: str) -> None:
    house.take(
        raw(
            f'{{"kind":"telemetry","id":"1-1","session":1,"sequence":1,"begin":{begin},"offsets":[0],'
            f'"series":{{"cpu.load":[{figure}]}}}}'
        )
    )
    assert house.refusals() == {(CAM, "message.malformed"): 1}


def test_text_when_it_holds_what_no_database_keeps_then_is_kept_as_it_was_spelled(house: House, begin: float) -> None:
    body = f'{{"kind":"telemetry","id":"\\u0000","session":1,"sequence":1,"begin":{begin},"offsets":[0],"series":{{}}'
    house.take(raw(body + ',"odd":"\\ud800\\u0000"}'), message(begin, sequence=2))
    assert house.count(MessageRow) + sum(house.refusals().values()) == 2
    assert house.fold() == house.count(MessageRow)


def test_message_when_the_device_may_not_speak_then_is_refused(house: House, begin: float) -> None:
    away = "d-zzzzzzzzzzzzzzzz"
    with house.database.transaction() as session:
        add_device(session, "d-suspendedsuspend", state=DeviceState.SUSPENDED)
    house.take(message(begin, device=away), message(begin, device="d-suspendedsuspend"), message(begin))
    assert house.refusals() == {("", "device.unknown"): 1, ("d-suspendedsuspend", "device.suspended"): 1}
    assert house.count(MessageRow) == 1


def test_message_when_of_another_kind_or_on_another_topic_then_is_refused(house: House, begin: float) -> None:
    topic = topics.up(CAM, "telemetry")
    house.take(
        Inbound(topic, b'{"v":0,"kind":"will","body":"{}"}'),
        Inbound(topic, b'{"v":0,"kind":"order","body":"{}"}'),
        Inbound(topic, b"x" * 20_000),
        Inbound(topics.up(CAM, "facts"), message(begin).payload),
    )
    codes = {code for _, code in house.refusals()}
    assert codes == {"signature.missing", "message.unknown_kind", "message.too_large", "message.wrong_channel"}


def test_flood_when_beyond_the_budget_then_is_dropped_and_told_once_while_others_are_heard(
    house: House, begin: float
) -> None:
    door = TelemetryDoor(Settings(telemetry_bytes_per_day=1000))
    flood = [message(begin, sequence=number) for number in range(2000)]
    with house.database.transaction() as session:
        router.take(session, [*flood, message(begin, device=PRESS)], house.blobs, door, utc_now())
    kept = house.count(MessageRow)
    assert 1 < kept < 10
    assert house.refusals() == {(CAM, "telemetry.over_budget"): 2001 - kept}
    assert [answer["code"] for answer in house.answers()] == ["telemetry.over_budget"]


def test_bad_messages_when_ten_thousand_then_answers_are_bounded_and_each_is_counted(house: House) -> None:
    house.take(*[raw(f'{{"kind":"telemetry","id":"{number}"}}') for number in range(10_000)])
    assert house.refusals() == {(CAM, "message.malformed"): 10_000}
    assert len(house.answers()) == 20


def test_fold_when_it_fails_half_way_then_nothing_is_lost_or_doubled(house: House, begin: float) -> None:
    house.take(*[message(begin, sequence=number) for number in range(10)])
    with pytest.raises(ZeroDivisionError), house.database.transaction() as session:
        assert fold.fold(session, STEP_S, utc_now(), limit=4) == 4
        raise ZeroDivisionError
    assert [house.fold(limit=4) for _ in range(4)] == [4, 4, 2, 0]
    assert house.count(RollupRow) == 1
    point = house.series(kind="cpu.ratio", selector="all").points[0]
    assert (point.count, point.mean, point.minimum, point.maximum) == (20, 0.375, 0.25, 0.5)


def test_late_samples_when_folded_then_fall_into_their_own_step_and_newer_figures_stay(
    house: House, begin: float
) -> None:
    house.take(message(begin, sequence=2, dropped=3))
    house.fold()
    house.take(message(begin - 2 * STEP_S, sequence=1, series={"cpu.ratio": [1.0, 1.0]}, dropped=1))
    house.fold()
    with house.database.reading() as session:
        latest = service.latest(session, CAM)
    assert latest.figures == {"cpu.ratio": 0.25}
    assert latest.dropped == 4
    assert latest.at.timestamp() == begin + 10
    found = house.series(kind="cpu.ratio", selector="all", begin=utc_now() - timedelta(hours=3))
    assert [(point.at.timestamp(), point.mean) for point in found.points] == [
        (begin - 2 * STEP_S, 1.0),
        (begin, 0.375),
    ]


def test_samples_when_a_message_crosses_a_step_then_are_summed_up_in_both(house: House, begin: float) -> None:
    house.take(message(begin - 5, offsets=[0.0, 10.0], series={"cpu.ratio": [0.0, 1.0]}))
    house.fold()
    assert house.count(RollupRow) == 2


def test_clock_when_known_to_be_off_then_the_controllers_counts(house: House, begin: float) -> None:
    house.take(message(begin - 86_400 * 400, clock_offset_s=86_400.0 * 400))
    house.take(message(begin + 20, sequence=2, clock_offset_s=59.0))
    house.fold()
    with house.database.reading() as session:
        assert service.latest(session, CAM).at.timestamp() == begin + 30


def test_series_when_of_a_selector_then_the_database_adds_its_devices_up(house: House, begin: float) -> None:
    house.take(message(begin), message(begin, device=PRESS, series={"cpu.ratio": [1.0, 0.0]}))
    house.fold()
    both = house.series(kind="cpu.ratio", selector="all").points
    one = house.series(kind="cpu.ratio", selector='labels.site == "nice"').points
    none = house.series(kind="memory.available_bytes", selector="all").points
    assert [(point.count, point.mean, point.minimum, point.maximum) for point in both] == [(4, 0.4375, 0.0, 1.0)]
    assert [(point.count, point.mean) for point in one] == [(2, 0.5)]
    assert none == []


def test_series_when_of_a_device_then_recent_times_come_from_its_messages_and_older_ones_from_sums(
    house: House, begin: float
) -> None:
    house.take(message(begin))
    recent = house.series(kind="cpu.ratio", device=CAM)
    assert recent.source == "raw"
    assert [point.mean for point in recent.points] == [0.5, 0.25]
    house.fold()
    older = house.series(kind="cpu.ratio", device=CAM, begin=utc_now() - timedelta(days=30))
    assert (older.source, older.step_s % STEP_S) == ("rollup", 0)
    assert [point.count for point in older.points] == [2]


def test_series_when_long_then_has_at_most_500_points(house: House) -> None:
    now = utc_now()
    found = house.series(kind="cpu.ratio", device=CAM, begin=now - timedelta(days=80), end=now, step_s=1)
    assert 80 * 86_400 / found.step_s <= 500


def test_series_when_asked_for_nobody_or_backwards_then_is_refused(house: House) -> None:
    now = utc_now()
    with pytest.raises(Invalid, match="whose"):
        house.series(kind="cpu.ratio")
    with pytest.raises(Invalid, match="before"):
        house.series(kind="cpu.ratio", device=CAM, begin=now, end=now)
    with pytest.raises(NotFound):
        house.series(kind="cpu.ratio", device="d-zzzzzzzzzzzzzzzz")


def test_history_when_old_then_goes_but_not_before_it_is_folded(house: House, begin: float) -> None:
    house.take(message(begin, sequence=1))
    late = utc_now() + timedelta(days=2)
    with house.database.transaction() as session:
        service.prune(session, house.settings, late)
    assert house.count(MessageRow) == 1
    house.fold()
    with house.database.transaction() as session:
        service.prune(session, house.settings, late)
    assert (house.count(MessageRow), house.count(RollupRow), house.count(LatestRow)) == (0, 1, 1)
    with house.database.transaction() as session:
        service.prune(session, house.settings, late + timedelta(days=90))
    assert house.count(RollupRow) == 0


def test_kinds_when_listed_then_are_those_of_the_device_or_of_the_fleet(house: House, begin: float) -> None:
    house.take(message(begin), message(begin, device=PRESS, series={"power.watts": [5.0, 6.0]}))
    house.fold()
    with house.database.reading() as session:
        assert service.kinds(session, CAM) == ["cpu.ratio"]
        assert service.kinds(session, None) == ["cpu.ratio", "power.watts"]
        assert session.scalar(select(LatestRow.device).where(LatestRow.device == number_of(CAM)))
