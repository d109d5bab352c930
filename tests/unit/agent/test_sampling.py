"""Figures of this machine, and of the files that the kernel documents for others."""

from pathlib import Path
from typing import Any

import pytest

from agent.sampling import Sampler, fits


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def counted(requests: int, failures: int = 0, version: int = 1, **others: Any) -> dict[str, Any]:
    return {"model": "Digits 2", "version": version, "requests": requests, "failures": failures, **others}


@pytest.fixture
def sampler(tmp_path: Path) -> Sampler:
    return Sampler(tmp_path, root=tmp_path)


def test_figures_when_read_here_then_what_every_machine_has_is_there_and_fits(tmp_path: Path) -> None:
    found = Sampler(tmp_path).read([])
    assert {
        "cpu.ratio",
        "memory.available_bytes",
        "memory.used_ratio",
        "agent.rss_bytes",
        "disk.free_bytes",
        "load.one_minute",
    } <= set(found)
    assert all(fits(kind, figure) for kind, figure in found.items())


def test_sensors_when_there_are_none_then_are_absent(sampler: Sampler) -> None:
    found = sampler.read([])
    assert not [kind for kind in found if kind.startswith(("temperature.", "power.", "battery."))]


def test_temperatures_when_the_processor_has_several_then_the_hottest_is_cpu(tmp_path: Path, sampler: Sampler) -> None:
    write(
        tmp_path,
        {
            "class/hwmon/hwmon0/name": "coretemp",
            "class/hwmon/hwmon0/temp1_input": 48000,
            "class/hwmon/hwmon0/temp1_label": "Package id 0",
            "class/hwmon/hwmon0/temp2_input": 51500,
            "class/hwmon/hwmon0/temp2_label": "Core 0",
            "class/hwmon/hwmon1/name": "nvme",
            "class/hwmon/hwmon1/temp1_input": 38850,
            "class/hwmon/hwmon1/temp2_input": 900000000,
        },
    )
    found = sampler.read([])
    assert found["temperature.cpu_celsius"] == 51.5
    assert [figure for kind, figure in found.items() if "nvme" in kind] == [38.85]


def test_power_when_rapl_counts_then_is_the_difference_of_the_packages_over_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = "class/powercap/intel-rapl:"
    most = {f"{zones}{n}/max_energy_range_uj": 100_000_000 for n in "01"}
    write(tmp_path, {**most, f"{zones}0/energy_uj": 10_000_000, f"{zones}1/energy_uj": 95_000_000})
    write(tmp_path, {f"{zones}0:0/energy_uj": 0})
    monkeypatch.setattr("agent.sampling.time.monotonic", lambda: 100.0)
    sampler = Sampler(tmp_path, root=tmp_path)
    # The second one has wrapped around; the core within the first is part of it.
    write(tmp_path, {f"{zones}0/energy_uj": 60_000_000, f"{zones}1/energy_uj": 5_000_000})
    write(tmp_path, {f"{zones}0:0/energy_uj": 40_000_000})
    monkeypatch.setattr("agent.sampling.time.monotonic", lambda: 110.0)
    assert sampler.read([])["power.watts"] == pytest.approx(5.0 + 1.0)


def test_power_when_rails_are_measured_then_is_that_of_the_input(tmp_path: Path, sampler: Sampler) -> None:
    rails = {"name": "ina3221", "curr1_input": 1200, "in1_input": 5000, "curr2_input": 400, "in2_input": 5000}
    write(tmp_path, {f"class/hwmon/hwmon0/{name}": value for name, value in rails.items()})
    assert sampler.read([])["power.watts"] == pytest.approx(6.0)


def test_power_when_it_comes_from_the_battery_then_is_what_the_battery_gives(tmp_path: Path, sampler: Sampler) -> None:
    supply = {
        "type": "Battery",
        "status": "Discharging",
        "capacity": 40,
        "current_now": -500000,
        "voltage_now": 12000000,
    }
    write(tmp_path, {f"class/power_supply/BAT0/{name}": value for name, value in supply.items()})
    found = sampler.read([])
    assert (found["power.watts"], found["battery.ratio"]) == (pytest.approx(6.0), pytest.approx(0.4))


def test_traffic_when_read_twice_then_is_a_rate(sampler: Sampler) -> None:
    found = sampler.read([])
    assert found["network.sent_bytes_per_s"] >= 0
    assert found["network.received_bytes_per_s"] >= 0


def test_inferences_when_a_model_serves_then_those_of_the_interval_are_counted(sampler: Sampler) -> None:
    first = sampler.read([counted(10, 1, latency_p50_ms=2.0, latency_p95_ms=3.0)])
    assert first["inference.digits_2.requests"] == 10
    assert first["inference.digits_2.latency_p95_ms"] == 3.0
    second = sampler.read([counted(10, 1, latency_p50_ms=2.0, latency_p95_ms=3.0)])
    assert (second["inference.digits_2.requests"], second["inference.digits_2.failures"]) == (0, 0)
    assert "inference.digits_2.latency_p50_ms" not in second
    assert sampler.read([counted(4, 0, version=2)])["inference.digits_2.requests"] == 4


@pytest.mark.parametrize(
    ("kind", "figure"),
    [
        ("cpu.ratio", 1.01),
        ("cpu.ratio", -0.01),
        ("power.watts", -1.0),
        ("disk.free_bytes", float("inf")),
        ("temperature.cpu_celsius", 251.0),
        ("cpu.ratio", float("nan")),
        ("load.one_minute", 1e19),
        ("Fan 1", 3.0),
        ("x" * 97, 3.0),
    ],
)
def test_figure_when_it_cannot_be_then_does_not_fit(kind: str, figure: float) -> None:
    assert not fits(kind, figure)
