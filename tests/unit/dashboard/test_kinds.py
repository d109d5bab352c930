import pytest

from dashboard import kinds


@pytest.mark.parametrize(
    ("kind", "unit", "name"),
    [
        ("cpu.ratio", "%", "cpu"),
        ("memory.available_bytes", "B", "available"),
        ("temperature.cpu_celsius", "°C", "cpu"),
        ("network.eth0.received_bytes_per_s", "B/s", "eth0 received"),
        ("inference.digits.requests", "", "digits requests"),
        ("inference.digits.latency_p50_ms", "ms", "digits latency p50"),
        ("process.cpu_s", "s", "cpu"),
        ("power.watts", "W", "power"),
        ("something", "", "something"),
    ],
)
def test_kind_when_it_ends_with_a_unit_then_its_name_is_without_it(kind: str, unit: str, name: str) -> None:
    assert (kinds.unit(kind), kinds.name(kind)) == (unit, name)


def test_kinds_when_grouped_then_those_of_one_unit_share_a_chart_and_unknown_ones_stand_last() -> None:
    given = ["zeal.level", "memory.used_bytes", "cpu.ratio", "memory.free_bytes", "temperature.gpu_celsius"]
    assert [(group.title, group.kinds) for group in kinds.grouped(given)] == [
        ("CPU", ("cpu.ratio",)),
        ("Memory", ("memory.free_bytes", "memory.used_bytes")),
        ("Temperature", ("temperature.gpu_celsius",)),
        ("Zeal", ("zeal.level",)),
    ]


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [
        ("%", 1.0, "100%"),
        ("B", -2048.0, "-2.0 KiB"),
        ("°C", -3.5, "-3.5 °C"),
        ("", 3.0, "3"),
        ("Hz", 1.8e9, "1,800,000,000 Hz"),
    ],
)
def test_amount_when_said_then_has_its_unit(unit: str, value: float, said: str) -> None:
    assert kinds.amount(unit, value) == said
