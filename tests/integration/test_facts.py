"""The facts of this very machine, of its way to a real door, and of an emulated one with another processor."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.facts import boot_id, has_changed, read_facts
from agent.hardware import kept, network
from agent.inventory import Inventory, survey
from agent.settings import Settings
from controller.server import listen
from shoal.wire.devices import Accelerator, Facts
from shoal.wire.runtimes import FORMATS
from tests import arm64
from tests.rig import wait_for


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "state").mkdir()
    return Settings(state=tmp_path / "state")


@pytest.fixture
def url() -> Iterator[str]:
    """A port that takes connections and says nothing: a handshake needs no more."""
    listener = listen("127.0.0.1", 0)
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def inventory(settings: Settings, url: str, *, load: float = 0.0, is_busy: bool = False) -> Inventory:
    return Inventory(
        settings,
        boot_id=boot_id(),
        controller_url=url,
        inference_url=lambda: "",
        is_busy=lambda: is_busy,
        load=lambda: load,
        look_s=0.02,
    )


def test_facts_of_this_machine_when_read_then_agree_with_what_the_system_says(settings: Settings) -> None:
    facts = read_facts(settings, "")
    assert facts.machine == os.uname().machine
    assert facts.cpu_cores is not None
    assert 1 <= facts.cpu_cores <= (os.cpu_count() or 1)
    assert facts.memory_bytes is not None
    assert 2**20 <= facts.memory_bytes <= psutil.virtual_memory().total
    assert facts.disk_bytes == psutil.disk_usage(str(settings.state)).total
    assert {"onnxruntime", "openvino", "litert", "torchscript"} <= set(facts.runtimes) <= set(FORMATS)
    assert facts.cpu_model
    assert facts.isa
    assert not has_changed(facts, read_facts(settings, ""))


def test_way_when_the_controller_listens_then_is_as_long_as_a_handshake(url: str) -> None:
    way = network.way_to(url)
    assert way is not None
    assert (way.address, way.interface) == ("127.0.0.1", "lo")
    assert way.round_trip_s is not None
    assert 0 < way.round_trip_s < 3


def test_survey_when_the_controller_is_gone_then_the_way_that_was_known_stands(settings: Settings, url: str) -> None:
    async def ask() -> tuple[Facts, Facts]:
        known = await survey(settings, boot_id="b", controller_url=url)
        later = await survey(settings, boot_id="b", controller_url="https://127.0.0.1:1", before=known)
        return read_facts(settings, "", known), read_facts(settings, "", later)

    known, later = asyncio.run(ask())
    assert known.round_trip_s is not None
    assert later.round_trip_s == known.round_trip_s


def test_measurement_when_done_once_then_is_not_done_again_until_it_is_asked_for(settings: Settings) -> None:
    assert kept.measured(settings) is None
    first = asyncio.run(kept.measure(settings, anew=False))
    rates = (first.fp32_macs_per_s, first.int8_macs_per_s, first.memory_bytes_per_s, first.storage_bytes_per_s)
    assert all(rate is not None and 1e5 < rate < 1e14 for rate in rates)
    assert kept.measured(settings) == first == asyncio.run(kept.measure(settings, anew=False))
    again = asyncio.run(kept.measure(settings, anew=True))
    assert again != first
    assert kept.measured(settings) == again
    assert sorted(path.name for path in settings.state.iterdir()) == ["benchmark.lock", "measured.json"]


def test_inventory_when_the_device_is_quiet_then_measures_and_says_that_something_changed(
    settings: Settings, url: str
) -> None:
    async def watch() -> tuple[Facts, Facts]:
        ours = inventory(settings, url)
        await ours.survey()
        before = ours.report()
        told = asyncio.Event()
        watching = asyncio.create_task(ours.watch(told.set))
        async with asyncio.timeout(60):
            await told.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return before, ours.report()

    before, after = asyncio.run(watch())
    assert before.measured is None
    assert after.measured == kept.measured(settings)
    assert after.measured is not None


@pytest.mark.parametrize(("measure", "load", "is_busy"), [("off", 0.0, False), ("on", 100.0, False), ("on", 0.0, True)])
def test_inventory_when_it_must_not_measure_then_waits_and_says_nothing(
    settings: Settings, url: str, measure: str, load: float, is_busy: bool
) -> None:
    async def watch() -> list[str]:
        ours = inventory(Settings(state=settings.state, measure=measure), url, load=load, is_busy=is_busy)
        await ours.survey()
        ours.report()
        told: list[str] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await ours.watch(lambda: told.append("changed"))
        return told

    assert asyncio.run(watch()) == []
    assert kept.measured(settings) is None


def test_measurement_when_its_parent_is_killed_then_ends_too(settings: Settings) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from agent.hardware import kept;"
        "from agent.settings import Settings;"
        "asyncio.run(kept.measure(Settings(state=Path(sys.argv[1])), anew=True))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(settings.state)])
    try:
        child = wait_for(lambda: next(iter(psutil.Process(parent.pid).children()), None))
        wait_for(lambda: (settings.state / "benchmark.lock").exists())  # it has begun
    finally:
        parent.kill()
        parent.wait()
    assert child is not None
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert kept.measured(settings) is None


def test_probe_when_run_then_answers_with_a_list_of_accelerators() -> None:
    done = subprocess.run([sys.executable, "-m", "agent.hardware.probe"], capture_output=True, check=True, timeout=60)
    found = msgspec.json.decode(done.stdout, type=list[Accelerator])
    assert all(one.kind in ("gpu", "npu", "vpu") for one in found)


def test_facts_command_when_asked_for_json_then_prints_what_the_controller_would_be_told(settings: Settings) -> None:
    environment = {**os.environ, "SHOAL_AGENT_STATE": str(settings.state), "SHOAL_AGENT_CONFIG": os.devnull}
    command = [sys.executable, "-m", "agent", "facts"]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True, timeout=60)
    told = msgspec.json.decode(done.stdout, type=Facts)
    assert told.hardware_id == read_facts(settings, "").hardware_id
    screen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"cpu_cores               {told.cpu_cores}\n" in screen
    assert list(settings.state.iterdir()) == []


@pytest.mark.skipif(not arm64.is_there(), reason=arm64.INSTALL)
def test_facts_when_the_processor_is_an_emulated_arm_then_are_its_own() -> None:
    program = """
import msgspec
from pathlib import Path
from agent.facts import read_facts
from agent.settings import Settings
print(msgspec.json.encode(read_facts(Settings(state=Path("/tmp/state")), "")).decode())
"""
    facts = json.loads(arm64.run_python(program))
    assert facts["machine"] == "aarch64"
    # The emulator lends the host's /proc/cpuinfo, which must not be believed; the auxiliary vector is its own.
    assert {"neon", "dotprod"} <= set(facts["isa"])
    assert not {one for one in facts["isa"] if one.startswith(("avx", "sse", "amx"))}
    assert "cpu_model" not in facts
    assert facts["cpu_cores"] == len(os.sched_getaffinity(0))
    assert {"energy_counters", "temperatures_celsius", "interfaces", "board"} & set(facts) == set()
