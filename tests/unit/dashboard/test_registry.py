"""The pages of the registry: what they say of devices, groups, selectors."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard import wording
from dashboard.components import table
from dashboard.components.badge import Tone
from dashboard.components.fleet_map import told
from dashboard.components.time_chart import Moment, time_chart
from dashboard.pages.device_facts import fact_groups
from dashboard.pages.devices import Wanted, device_row
from dashboard.pages.fleet import label_path, tile
from dashboard.pages.groups import group_row
from dashboard.pages.label_edit import preview_words
from dashboard.pages.selector_input import counted, pointed, problem
from dashboard.pages.timeline import entry
from shoal.client import ApiError
from shoal.schemas.devices import Device, Event, Health
from shoal.schemas.groups import Group, LabelEditResult, SelectorCheck

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def device(**told: Any) -> Device:
    plain: dict[str, Any] = {
        "id": "d-a",
        "state": "active",
        "state_reason": "",
        "hardware_id": None,
        "claims_device_id": None,
        "key_id": "0123456789abcdef",
        "enrollment_token_id": "t-1",
        "online": True,
        "flapping": False,
        "labels": {"site": "lyon"},
        "groups": ["cameras"],
        "facts": {"hostname": "pi-7", "board": "Raspberry Pi 5 Model B Rev 1.0", "machine": "aarch64"},
        "slots": [],
        "desired": (1, 0),
        "reported": (0, 0),
        "agent_version": "0.1.0",
        "online_since": NOW,
        "last_seen_at": NOW,
        "enrolled_at": NOW,
        "certificate_expires_at": NOW,
    }
    return Device(**{**plain, **told})


def refused(**place: Any) -> ApiError:
    return ApiError(422, "selector.unknown_field", "There is no field lables.", "r-1", [place])


def test_device_when_it_flaps_then_its_row_has_both_badges_its_board_and_its_groups() -> None:
    row = device_row(device(flapping=True), NOW)
    assert [badge["text"] for badge in row["health"]["badges"]] == ["online", "flapping"]
    assert row["board"] == table.clipped("Raspberry Pi 5 Model B Rev 1.0", "aarch64")
    assert row["groups"]["badges"][0]["href"] == "/devices?selector=group+%3D%3D+%22cameras%22"


def test_device_when_it_told_no_board_then_its_row_says_the_processor() -> None:
    assert device_row(device(facts={"cpu_model": "AMD EPYC"}), NOW)["board"]["text"] == "AMD EPYC"


@pytest.mark.parametrize(("state", "words"), [("active", ["offline"]), ("pending", []), ("retired", [])])
def test_health_when_a_device_is_away_then_is_said_only_where_it_is_wanted(state: str, words: list[str]) -> None:
    assert wording.health(device(state=state, online=False)) == words


@pytest.mark.parametrize(
    ("wanted", "selector"),
    [
        (Wanted(), "all"),
        (Wanted(selector="all"), "all"),
        (Wanted(selector="flapping"), "flapping"),
        (Wanted(online="offline"), "not online"),
        (Wanted(selector="all", online="online"), "online"),
        (
            Wanted(selector="a == 1 or b == 2", state="active", online="online"),
            "(a == 1 or b == 2) and state == active and online",
        ),
    ],
)
def test_search_when_narrowed_in_several_ways_then_is_one_selector(wanted: Wanted, selector: str) -> None:
    assert wanted.whole_selector() == selector


def test_search_when_read_from_an_address_then_what_is_unknown_is_left_out() -> None:
    assert Wanted.of_query({"online": "maybe", "state": "active", "q": " pi "}) == Wanted(state="active", q="pi")


def test_selector_when_wrong_then_the_caret_stands_under_the_mistake_and_the_suggestion_replaces_it() -> None:
    text = '  lables.site == "lyon"'
    found = problem(refused(column=1, length=11, suggestion="labels.site", message="There is no field."), text)
    assert found.excerpt == text
    assert found.caret == "  ^"
    assert text[found.begin : found.end] == "lables.site"
    assert (found.suggestion, found.message) == ("labels.site", "There is no field.")


def test_selector_when_the_refusal_has_no_place_then_only_its_message_is_shown() -> None:
    found = problem(refused(field="body.selector"), "x")
    assert (found.message, found.excerpt, found.suggestion) == ("There is no field lables.", "", "")


def test_selector_when_long_then_only_what_is_around_the_mistake_is_shown() -> None:
    excerpt, caret = pointed("a" * 200 + "X" + "b" * 200, 200)
    assert excerpt[caret.index("^")] == "X"
    assert (excerpt[0], excerpt[-1]) == ("…", "…")


@pytest.mark.parametrize(
    ("devices", "active", "words"),
    [(0, 0, "No device is like that now."), (1, 1, "1 device, 1 active"), (1204, 1190, "1,204 devices, 1,190 active")],
)
def test_selector_when_counted_then_says_how_many_can_be_worked_with(devices: int, active: int, words: str) -> None:
    assert counted(SelectorCheck(selector="all", devices=devices, active=active)) == words


@pytest.mark.parametrize(
    ("matched", "changed", "words"),
    [
        (0, 0, "No device is meant."),
        (1, 1, "1 device is meant; 1 of them gets other labels."),
        (12, 0, "12 devices are meant; nothing would change."),
    ],
)
def test_label_edit_when_looked_at_then_says_what_would_change(matched: int, changed: int, words: str) -> None:
    assert preview_words(LabelEditResult(matched=matched, changed=changed, examples=[])) == words


def cell(value: str | None) -> Health:
    return Health(value=value, total=5, healthy=2, alerting=1, flapping=1, offline=1, suspended=0)


@pytest.mark.parametrize(
    ("value", "label", "name", "selector"),
    [
        ("lyon", "site", "lyon", 'labels.site == "lyon" and state in (active, suspended)'),
        ('a"b', "a/b", 'a"b', 'labels["a/b"] == "a\\"b" and state in (active, suspended)'),
        (None, "site", "without site", 'not labels has "site" and state in (active, suspended)'),
        (None, None, "All devices", "state in (active, suspended)"),
    ],
)
def test_tile_when_chosen_then_leads_to_the_devices_that_it_counts(
    value: str | None, label: str | None, name: str, selector: str
) -> None:
    made = tile(cell(value), label)
    assert made.name == name
    assert made.href == Wanted(selector=selector).address()
    assert told(made) == "2 healthy, 1 alerting, 1 flapping, 1 offline"


def test_label_when_its_name_needs_quotes_then_has_brackets() -> None:
    assert label_path("a.b") == 'labels["a.b"]'


def test_group_when_it_is_empty_then_its_row_has_no_share() -> None:
    group = Group(
        name="cameras",
        selector="all",
        description="",
        devices=0,
        online=0,
        created_by="a",
        created_at=NOW,
        updated_at=NOW,
    )
    assert group_row(group, NOW)["online"] == ""
    assert group_row(group.model_copy(update={"devices": 4, "online": 1}), NOW)["online"]["ratio"] == 0.25


def test_facts_when_told_then_stand_in_groups_and_what_is_absent_is_left_out() -> None:
    groups = dict(
        fact_groups(
            {
                "board": "Jetson Orin Nano",
                "isa": ["neon", "dotprod"],
                "disk_free_bytes": 2**30,
                "disk_bytes": 2**33,
                "accelerators": [{"kind": "gpu", "vendor": "nvidia", "name": "Orin", "found_by": "device_tree"}],
                "interfaces": [{"name": "eth0", "kind": "ethernet", "is_up": True, "speed_bits_per_s": 1_000_000_000}],
                "measured": {"measured_at": "2026-01-02T10:00:00+00:00", "int8_macs_per_s": 8.1e9},
                "temperatures_celsius": {"cpu": 51.5},
                "moisture_ratio": 0.5,
            }
        )
    )
    assert groups["Hardware"] == [
        ("Board", "Jetson Orin Nano"),
        ("Instruction sets", "neon, dotprod"),
        ("Disk", "1.0 GiB free of 8.0 GiB"),
    ]
    assert groups["Accelerators"] == [("GPU", "Orin (by device tree)")]
    assert groups["Network"] == [("eth0", "ethernet, up, 1000 Mbit/s")]
    assert groups["Measured"] == [("int8, one core", "8.1 GMAC/s"), ("When", "2026-01-02 10:00 UTC")]
    assert groups["Power and heat"] == [("Heat, cpu", "51.5 °C")]
    assert groups["Other"] == [("Moisture ratio", "0.5")]
    assert "Software" not in groups


@pytest.mark.parametrize("odd", ["isa", "accelerators", "interfaces", "measured", "temperatures_celsius", "runtimes"])
def test_facts_when_they_are_not_what_they_should_be_then_are_left_out(odd: str) -> None:
    assert fact_groups({odd: 7}) == []


def moments(*minutes: float) -> list[Moment]:
    return [Moment(at=NOW + timedelta(minutes=at), mean=2, minimum=1, maximum=4) for at in minutes]


def points_of(series: dict[str, list[Moment]], unit: str = "") -> dict[str, list[Any]]:
    options = time_chart(series, unit=unit, begin=NOW, end=NOW + timedelta(hours=1), step_s=60)
    return {line["name"]: [value for _, value in line["data"]] for line in options["series"]}


def test_chart_when_samples_are_missing_then_the_line_has_a_gap() -> None:
    assert points_of({"cpu": moments(0, 1, 2, 9, 10)})["cpu"] == [2, 2, 2, None, 2, 2]


def test_chart_when_samples_come_more_seldom_than_its_steps_then_there_is_no_gap() -> None:
    assert points_of({"cpu": moments(0, 5, 10, 15)})["cpu"] == [2, 2, 2, 2]


def test_chart_when_it_has_one_line_then_it_has_a_band_and_several_have_none() -> None:
    assert points_of({"cpu": moments(0, 1)}) == {"least": [1, 1], "most": [3, 3], "cpu": [2, 2]}
    assert list(points_of({"cpu": moments(0), "gpu": moments(0)})) == ["cpu", "gpu"]


def test_chart_when_of_bytes_then_its_ticks_are_binary() -> None:
    big = [Moment(at=NOW, mean=5e9, minimum=5e9, maximum=5e9)]
    axis = time_chart({"a": big, "b": big}, unit="B", begin=NOW, end=NOW, step_s=1)["yAxis"]
    assert (axis["interval"], axis["max"]) == (2**30, 5 * 2**30)


@pytest.mark.parametrize(
    ("name", "data", "words", "tone"),
    [
        ("device.flapping", {}, "d-a comes and goes too often.", Tone.WARN),
        ("group.joined", {"group": "cameras"}, "d-a joined group cameras.", Tone.WAIT),
        (
            "execution.finished",
            {"kind": "command", "state": "failed"},
            "An execution ended: command, failed. ?",
            Tone.BAD,
        ),
        ("alert.fired", {"rule": "hot", "message": "81 °C"}, "Alert hot fired: 81 °C", Tone.BAD),
    ],
)
def test_timeline_when_something_happened_then_says_it_in_its_colour(
    name: str, data: dict[str, Any], words: str, tone: Tone
) -> None:
    shown = entry(Event(id="e", name=name, subject="d-a", device_id="d-a", data=data, at=NOW))
    assert (shown.words, shown.tone) == (words, tone)
