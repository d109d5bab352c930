"""A variant measured on the device: by a real runner, without touching what serves."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.artifacts import ArtifactStore
from agent.door import Door
from agent.errors import AgentError
from agent.executions import NeverDone
from agent.hardware import meters
from agent.identity import Identity
from agent.profiles import Profiles
from agent.settings import Settings
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import ExecutionKind, Offer
from shoal.wire.profiles import ProfileResult, ProfileSpec
from shoal.wire.rollouts import DesiredVariant
from tests.models import WEIGHTS, golden_of, linear_onnx

MODEL, GOLDEN = linear_onnx(), golden_of()


def ref(data: bytes) -> ArtifactRef:
    return ArtifactRef(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def offer(model: bytes = MODEL, golden: bytes = GOLDEN, **others: Any) -> Offer:
    variant = DesiredVariant(
        model="linear",
        version=1,
        variant_id="v",
        recipe="fp32",
        runtime="onnxruntime",
        artifact=ref(model),
        golden=ref(golden),
    )
    spec = ProfileSpec(variant=variant, runs=20, warm_up=2)
    named = {"execution_id": "e", "type": ExecutionKind.PROFILE, "attempt": 1, "epoch": 1, "number": 1}
    return Offer(**{**named, "timeout_s": 60, "spec": msgspec.Raw(msgspec.json.encode(spec)), **others})


class Device:
    """A device that has fetched already what it serves."""

    def __init__(self, folder: Path, identity: Identity, runtimes: Mapping[str, str], options: str = "") -> None:
        self.held = ArtifactStore(folder / "artifacts")
        self.folder = folder / "profiles"
        self.root = folder / "root"
        self.told: list[tuple[float, str]] = []
        self.profiles = Profiles(
            self.folder,
            held=self.held,
            door=lambda: Door(identity),
            runtimes=lambda: runtimes,
            options_of=Settings(runtime_options=options).options_of,
            root=self.root,
        )
        for data in (MODEL, GOLDEN):
            self.give(data)

    def give(self, data: bytes, content: bytes | None = None) -> None:
        self.held.path(ref(data).sha256).write_bytes(data if content is None else content)

    def measure(self, wanted: Offer) -> ProfileResult:
        said = asyncio.run(self.profiles.measure(wanted, lambda share, words: self.told.append((share, words))))
        return msgspec.convert(said, ProfileResult)


@pytest.fixture
def device(tmp_path: Path, identity: Identity) -> Device:
    return Device(tmp_path, identity, {"onnxruntime": "1"})


def test_variant_when_measured_then_has_figures_and_what_serves_is_as_it_was(device: Device) -> None:
    before = {path.name: path.read_bytes() for path in device.held.path("x").parent.iterdir()}
    found = device.measure(offer())
    assert found.golden.passed
    assert (found.golden.samples, found.golden.agreement, found.runs, found.threads) == (32, 1.0, 20, 1)
    assert 0 < found.latency_p50_ms <= found.latency_p95_ms <= found.latency_p99_ms
    assert found.load_s > 0
    assert (found.energy_j, found.temperature_before_c) == (None, None)
    assert {path.name: path.read_bytes() for path in device.held.path("x").parent.iterdir()} == before
    assert list(device.folder.iterdir()) == []
    assert device.told[-1] == (0.6, "measuring")


def test_golden_set_when_it_fails_then_the_figures_say_so(device: Device) -> None:
    other = linear_onnx(WEIGHTS[:, ::-1].copy())
    device.give(other)
    found = device.measure(offer(model=other))
    assert not found.golden.passed
    assert found.golden.agreement < 0.95


def test_runtime_when_the_device_does_not_offer_it_then_is_never_done(tmp_path: Path, identity: Identity) -> None:
    with pytest.raises(NeverDone) as refusal:
        Device(tmp_path, identity, {"litert": "1"}).measure(offer())
    assert refusal.value.code == "runtime.missing"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("onnxruntime.provider=CPUExecutionProvider,litert.delegate=/nowhere.so", ""),
        ("onnxruntime.provider=NowhereExecutionProvider", "runtime.bad_option"),
    ],
)
def test_options_when_the_machine_has_them_then_the_runtime_gets_its_own(
    tmp_path: Path, identity: Identity, options: str, code: str
) -> None:
    made = Device(tmp_path, identity, {"onnxruntime": "1"}, options)
    if not code:
        assert made.measure(offer()).golden.passed
        return
    with pytest.raises(AgentError) as failure:
        made.measure(offer())
    assert failure.value.code == code


def test_offer_when_it_is_malformed_then_is_never_done(device: Device) -> None:
    with pytest.raises(NeverDone) as refusal:
        device.measure(offer(spec=msgspec.Raw(b'{"runs": 3}')))
    assert refusal.value.code == "execution.malformed"


def test_model_when_it_does_not_load_then_the_failure_is_named_and_the_files_go(device: Device) -> None:
    device.give(b"no model")
    with pytest.raises(AgentError) as failure:
        device.measure(offer(model=b"no model"))
    assert failure.value.code == "model.not_loadable"
    assert list(device.folder.iterdir()) == []


def test_file_when_the_disk_changed_it_then_is_not_measured(device: Device) -> None:
    device.give(MODEL, linear_onnx(WEIGHTS + 1))
    with pytest.raises(AgentError) as failure:
        device.measure(offer())
    assert failure.value.code == "artifact.digest_mismatch"


def test_machine_when_it_can_measure_energy_and_heat_then_the_figures_have_both(device: Device) -> None:
    chip, zone = device.root / "sys/class/hwmon/hwmon0", device.root / "sys/class/thermal/thermal_zone0"
    for folder, files in (
        (chip, {"name": "ina3221", "curr1_input": "1000", "in1_input": "5000"}),
        (zone, {"type": "cpu-thermal", "temp": "45000"}),
    ):
        folder.mkdir(parents=True)
        for name, value in files.items():
            (folder / name).write_text(value)
    found = device.measure(offer())
    assert found.energy_j is not None
    mean_s = found.energy_j / 5.0  # 1 A at 5 V
    assert 0 < mean_s < found.latency_p99_ms / 1000 * 20
    assert (found.temperature_before_c, found.temperature_after_c) == (45.0, 45.0)


def test_measuring_when_the_agent_ends_then_what_is_there_stays_for_the_next_start(device: Device) -> None:
    async def interrupted() -> None:
        measuring = asyncio.create_task(device.profiles.measure(offer(), lambda _share, _words: None))
        while not any(device.folder.iterdir()):
            await asyncio.sleep(0)
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)

    asyncio.run(interrupted())
    assert any(device.folder.iterdir())
    device.profiles.forget()
    assert not any(device.folder.iterdir())


def test_energy_when_packages_count_it_then_wraps_are_seen(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "max_energy_range_uj").write_text("10000000")
    readings = []
    for count in ("9000000", "1000000"):
        (zone / "energy_uj").write_text(count)
        readings.append(meters.package_counters(root=tmp_path))
    assert np.isclose(meters.used_joules(*readings) or 0, 2.0)
    assert meters.used_joules({}, readings[1]) is None
