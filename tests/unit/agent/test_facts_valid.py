"""Whatever the files of a machine say, its report is one that the wire accepts: one odd sensor must not silence it."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.facts import Surroundings, has_changed, read_facts, valid
from agent.hardware.network import Way
from agent.identity import Identity
from agent.settings import Settings
from shoal.wire.devices import Accelerator, Facts, FactsReport, NetworkInterface
from tests.machines import write

FILES = (
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/self/cgroup",
    "proc/self/auxv",
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/cpu.max",
    "sys/class/dmi/id/product_name",
    "sys/class/power_supply/BAT0/type",
    "sys/class/power_supply/BAT0/capacity",
    "sys/class/power_supply/BAT0/status",
    "sys/class/thermal/thermal_zone0/type",
    "sys/class/thermal/thermal_zone0/temp",
    "sys/class/hwmon/hwmon0/name",
    "sys/class/hwmon/hwmon0/temp1_input",
    "sys/class/hwmon/hwmon0/power1_input",
    "sys/class/hwmon/hwmon0/power1_label",
    "sys/class/powercap/intel-rapl:0/name",
    "sys/class/powercap/intel-rapl:0/energy_uj",
    "sys/class/net/eth0/device/uevent",
    "sys/class/net/eth0/type",
    "sys/class/net/eth0/operstate",
    "sys/class/net/eth0/speed",
    "sys/class/net/eth0/uevent",
    "sys/bus/usb/devices/1-1/idVendor",
    "sys/class/hailo_chardev/hailo0/device/device",
    "dev/hailo0",
    "etc/timezone",
    "etc/machine-id",
)
VALUES = st.one_of(
    st.binary(max_size=64),
    st.text(max_size=300).map(lambda text: text.encode(errors="surrogatepass")),
    st.integers(-(2**80), 2**80).map(lambda number: b"%d\n" % number),
    st.sampled_from(
        [
            b"",
            b"nan\n",
            b"-inf\n",
            b"1e999\n",
            b"Battery\n",
            b"up\n",
            b"0::/\n",
            b"0::/../../x\n",
            b"max 0\n",
            b"1 0\n",
            b"MemTotal: 99999999999999 kB\n",
            b"MemTotal: 0 kB\n",
            b"model name\t: \x00\xff\nflags\t: avx2\n",
            b"Features\t: asimd\nCPU implementer\t: zz\nCPU part\t: 0x\n",
            b"rockchip,rk3588\0" * 2000,
        ]
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FILES), VALUES))
def test_facts_when_files_say_anything_then_the_report_is_valid(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(files.get(name, b""))
    facts = read_facts(Settings(state=tmp_path), "http://127.0.0.1:1", root=tmp_path)
    report = FactsReport(id="1-1", session=1, sequence=1, facts=facts)
    body = msgspec.json.encode(report)
    assert msgspec.json.decode(body, type=FactsReport) == report
    assert len(body) < 32 * 1024
    assert "\\u0000" not in body.decode()
    assert all(name.isprintable() for name in facts.temperatures_celsius)


def test_facts_when_nothing_can_be_read_then_all_that_is_measured_is_absent(tmp_path: Path) -> None:
    facts = json.loads(msgspec.json.encode(read_facts(Settings(state=tmp_path / "state"), "", root=tmp_path / "root")))
    always = {"hostname", "machine", "system", "python", "agent_version", "runtimes", "can_train"}
    assert always <= set(facts)
    # Cores, disk and clock are asked of the kernel itself.
    assert set(facts) - always <= {"cpu_cores", "disk_bytes", "disk_free_bytes", "time_zone"}


def a_report(**others: object) -> Facts:
    named = {"hostname": "n", "machine": "m", "system": "s", "python": "p", "agent_version": "v"}
    return Facts(**{**named, "runtimes": {}, "can_train": False, **others})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("board", "b" * 257),
        ("cpu_cores", 0),
        ("memory_bytes", 2**60),
        ("battery_ratio", 1.5),
        ("battery_ratio", float("nan")),
        ("temperatures_celsius", {"cpu": float("inf")}),
        ("round_trip_s", -1.0),
        ("download_bytes_per_s", 0.0),
        ("accelerators", [Accelerator(kind="gpu", vendor="nvidia", name="A", found_by="nvml", memory_bytes=-1)]),
        ("ip_addresses", ["::1"] * 65),
        ("board", "\ud800"),
    ],
)
def test_facts_when_a_value_is_out_of_the_wires_bounds_then_it_alone_is_absent(name: str, odd: object) -> None:
    facts = valid(a_report(**{"isa": ["neon"], name: odd}))
    assert facts == a_report(isa=["neon"])


ETHERNET = NetworkInterface(name="eth0", kind="ethernet", is_up=True, is_metered=False)
DISK = 100 * 2**30
BEFORE = {"disk_bytes": DISK, "disk_free_bytes": DISK // 2, "interfaces": [ETHERNET], "runtimes": {}}


@pytest.mark.parametrize(
    ("change", "is_worth_telling"),
    [
        ({}, False),
        ({"temperatures_celsius": {"cpu": 60.0}}, False),
        ({"round_trip_s": 0.2}, False),
        ({"battery_ratio": 0.2}, False),
        ({"download_bytes_per_s": 1e6}, False),
        ({"disk_free_bytes": DISK // 2 - DISK // 20}, False),
        ({"ip_addresses": ["2001:db8::7"]}, False),
        ({"disk_free_bytes": DISK // 3}, True),
        ({"ip_addresses": ["192.0.2.7"]}, True),
        ({"runtimes": {"onnxruntime": "1.33.0"}}, True),
        ({"power_source": "battery"}, True),
        ({"is_metered": True}, True),
        ({"interfaces": [msgspec.structs.replace(ETHERNET, is_up=False)]}, True),
        ({"interfaces": [msgspec.structs.replace(ETHERNET, is_metered=True)]}, True),
        ({"accelerators": [Accelerator(kind="tpu", vendor="google", name="Coral", found_by="device_node")]}, True),
    ],
)
def test_change_when_something_moved_then_is_told_only_if_it_matters(
    change: dict[str, object], is_worth_telling: bool
) -> None:
    assert has_changed(a_report(**BEFORE), a_report(**{**BEFORE, **change})) is is_worth_telling


def test_facts_when_the_way_to_the_controller_is_known_then_tell_its_length_and_price(tmp_path: Path) -> None:
    way = Way(address="192.0.2.2", interface="wwan0", round_trip_s=0.06)
    around = Surroundings(metered={"wwan0": True}, way=way)
    facts = read_facts(Settings(state=tmp_path), "", around, root=tmp_path)
    assert (facts.is_metered, facts.round_trip_s) == (True, 0.06)


def test_facts_when_a_machine_has_more_of_everything_than_any_then_fit_into_a_message(tmp_path: Path) -> None:
    files = {"proc/device-tree/model": "m" * 300, "proc/cpuinfo": "model name\t: " + "c" * 300 + "\n"}
    for count in range(100):
        long = f"{count:03}" + '"' * 300
        plain = f"{count:03}" + "t" * 300
        files |= {
            f"sys/class/thermal/thermal_zone{count}/type": plain,
            f"sys/class/thermal/thermal_zone{count}/temp": "40000",
            f"sys/class/hwmon/hwmon{count}/name": long,
            f"sys/class/hwmon/hwmon{count}/power1_input": "1",
            f"sys/class/net/enp{count}s0f0np0/device/uevent": "",
            f"sys/class/net/enp{count}s0f0np0/operstate": "up",
            f"sys/class/net/enp{count}s0f0np0/speed": "100000",
            f"dev/hailo{count}": "",
        }
    write(tmp_path, files)
    probed = tuple(Accelerator(kind="gpu", vendor="nvidia", name='"' * 96, found_by="nvml") for _ in range(40))
    facts = read_facts(Settings(state=tmp_path), "", Surroundings(probed=probed), root=tmp_path)
    counts = [len(facts.accelerators), len(facts.energy_counters), len(facts.temperatures_celsius)]
    assert [*counts, len(facts.interfaces)] == [32, 64, 64, 32]
    identity = Identity.open(tmp_path / "device")
    report = FactsReport(id="1-1", session=1, sequence=1, facts=facts)
    assert len(identity.seal(report, "shoal/1/d-aaaaaaaaaaaaaaaa/up/facts")) < 64 * 1024
