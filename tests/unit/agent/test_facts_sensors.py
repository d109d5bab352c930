"""Power, energy, temperatures and interfaces, on files as the kernel's ABI documents them."""

from pathlib import Path

import pytest

from agent.hardware import meters, network, power
from shoal.wire.devices import NetworkInterface
from tests.machines import write

SUPPLY = "sys/class/power_supply"
HWMON = "sys/class/hwmon/hwmon0"
Files = dict[str, str]


def supply(name: str, **values: str) -> Files:
    return {f"{SUPPLY}/{name}/{key}": f"{value}\n" for key, value in values.items()}


MAINS = supply("AC", type="Mains", online="1")
UNPLUGGED = supply("AC", type="Mains", online="0")
CHARGING = supply("BAT0", type="Battery", present="1", status="Charging", capacity="80")
DISCHARGING = supply("BAT0", type="Battery", present="1", status="Discharging", capacity="40")
SECOND = supply("BAT1", type="Battery", present="1", status="Unknown", capacity="60")
MOUSE = supply("hidpp_battery_0", type="Battery", scope="Device", status="Discharging", capacity="5")


@pytest.mark.parametrize(
    ("files", "source", "ratio"),
    [
        ({}, None, None),
        (MAINS, "mains", None),
        (UNPLUGGED, None, None),
        (MAINS | CHARGING, "mains", 0.8),
        (UNPLUGGED | DISCHARGING, "battery", 0.4),
        (UNPLUGGED | DISCHARGING | SECOND, "battery", 0.5),
        (CHARGING, "mains", 0.8),
        (MOUSE, None, None),
        (MAINS | MOUSE, "mains", None),
        (supply("usb", type="USB", online="2"), "mains", None),
        (supply("ups", type="UPS", status="Discharging", capacity="90"), "battery", 0.9),
        (supply("BAT0", type="Battery", present="0", status="Unknown"), None, None),
        (supply("BAT0", type="Battery", status="Discharging", capacity="255"), "battery", None),
        (supply("BAT0", type="Battery", status="Discharging", capacity="full"), "battery", None),
    ],
)
def test_power_when_supplies_are_there_then_tell_the_source_and_the_charge(
    tmp_path: Path, files: Files, source: str | None, ratio: float | None
) -> None:
    write(tmp_path, files)
    assert power.read(root=tmp_path) == power.Power(source=source, battery_ratio=ratio)


def test_energy_when_counters_are_there_then_are_named(tmp_path: Path) -> None:
    powercap = "sys/class/powercap"
    old = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    write(
        tmp_path,
        {
            f"{powercap}/intel-rapl:0/name": "package-0\n",
            f"{powercap}/intel-rapl:0/energy_uj": "262143328850\n",
            f"{powercap}/intel-rapl:0:0/name": "core\n",
            f"{powercap}/intel-rapl:0:0/energy_uj": "1\n",
            f"{powercap}/intel-rapl:0:1/name": "uncore\n",  # without a counter that can be read
            f"{powercap}/intel-rapl-mmio:0/name": "package-0\n",
            f"{HWMON}/name": "ina3221\n",
            f"{HWMON}/in1_label": "VDD_IN\n",
            f"{HWMON}/in1_input": "5016\n",
            f"{HWMON}/curr1_input": "808\n",
            f"{HWMON}/curr4_input": "900\n",  # the sum of the channels
            "sys/class/hwmon/hwmon1/name": "macsmc\n",
            "sys/class/hwmon/hwmon1/power1_input": "12000000\n",
            "sys/class/hwmon/hwmon2/name": "broken\n",
            "sys/class/hwmon/hwmon2/power1_input": "N/A\n",
            f"{old}/rail_name_0": "POM_5V_IN\n",
            f"{old}/in_power0_input": "2024\n",
            f"{old}/rail_name_1": "POM_5V_GPU\n",
        },
    )
    assert meters.energy_counters(root=tmp_path) == [
        "rapl:package-0",
        "rapl:core",
        "ina3221:VDD_IN",
        "macsmc:power1",
        "ina3221:POM_5V_IN",
    ]


def test_temperatures_when_sensors_answer_then_are_named_for_selectors_and_others_absent(tmp_path: Path) -> None:
    thermal = "sys/class/thermal"
    write(
        tmp_path,
        {
            f"{thermal}/thermal_zone0/type": "cpu-thermal\n",
            f"{thermal}/thermal_zone0/temp": "48312\n",
            f"{thermal}/thermal_zone1/type": "GPU-therm\n",
            f"{thermal}/thermal_zone1/temp": "-1500\n",
            f"{thermal}/thermal_zone2/type": "PMIC-Die\n",
            f"{thermal}/thermal_zone2/temp": "-274000\n",
            f"{thermal}/thermal_zone3/type": "iwlwifi_1\n",  # the radio is off: reading gives an error
            f"{HWMON}/name": "coretemp\n",
            f"{HWMON}/temp1_label": "Package id 0\n",
            f"{HWMON}/temp1_input": "51000\n",
            "sys/class/hwmon/hwmon1/name": "nvme\n",
            "sys/class/hwmon/hwmon1/temp1_input": "36850\n",
            "sys/class/hwmon/hwmon1/temp2_input": "999999\n",
        },
    )
    degrees = meters.temperatures_celsius(root=tmp_path)
    assert degrees == {"cpu": 51.0, "gpu_therm": -1.5, "nvme": 36.85}


def net(name: str, **values: str) -> Files:
    folder = f"sys/class/net/{name}"
    return {f"{folder}/device/uevent": ""} | {f"{folder}/{key}": f"{value}\n" for key, value in values.items()}


def test_interfaces_when_hardware_stands_behind_them_then_are_told_with_kind_and_speed(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **net("eth0", type="1", operstate="up", speed="1000", uevent="INTERFACE=eth0\nIFINDEX=2"),
            **net("eth1", type="1", operstate="down", speed="-1"),
            **net("wlan0", type="1", operstate="up", uevent="DEVTYPE=wlan\nINTERFACE=wlan0"),
            **net("wwan0", type="519", operstate="up", uevent="DEVTYPE=wwan"),
            **net("can0", type="280", operstate="up"),
            "sys/class/net/docker0/type": "1\n",
            "sys/class/net/lo/type": "772\n",
        },
    )
    assert network.interfaces({"wwan0": True, "eth0": False}, root=tmp_path) == [
        NetworkInterface(name="can0", kind="other", is_up=True),
        NetworkInterface(name="eth0", kind="ethernet", is_up=True, is_metered=False, speed_bits_per_s=10**9),
        NetworkInterface(name="eth1", kind="ethernet", is_up=False),
        NetworkInterface(name="wlan0", kind="wifi", is_up=True),
        NetworkInterface(name="wwan0", kind="cellular", is_up=True, is_metered=True),
    ]


def test_metered_when_network_manager_is_not_there_then_nothing_is_known() -> None:
    assert network.metered_interfaces("no-such-program") == {}


def test_metered_when_network_manager_answers_then_guesses_count_and_unknown_does_not() -> None:
    # As `nmcli -t -f GENERAL.DEVICE,GENERAL.METERED device show` writes it.
    answer = """\
GENERAL.DEVICE:wlan0
GENERAL.METERED:no (guessed)

GENERAL.DEVICE:wwan0
GENERAL.METERED:yes

GENERAL.DEVICE:eth0
GENERAL.METERED:unknown
"""
    assert network.parse_metered(answer.splitlines()) == {"wlan0": False, "wwan0": True}


@pytest.mark.parametrize("url", ["", "https://", "https://127.0.0.1:1", "https://[::1", "https://host:99999999"])
def test_way_when_nothing_answers_there_then_is_absent(url: str) -> None:
    assert network.way_to(url) is None
