"""Measured facts: the model that int8 is measured with, and how long a result holds."""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from agent.errors import AgentError
from agent.hardware import benchmark, kept, nvml
from agent.hardware.probe import named
from agent.settings import Settings
from shoal.wire.devices import Accelerator, Measured


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "state").mkdir()
    return Settings(state=tmp_path / "state")


def test_int8_model_when_written_by_hand_then_is_valid_onnx_and_multiplies() -> None:
    body = benchmark.matmul_integer_model(300)
    onnx.checker.check_model(onnx.load_from_string(body), full_check=True)
    random = np.random.default_rng(7)
    left = random.integers(0, 255, (300, 300), np.uint8)
    right = random.integers(-127, 127, (300, 300), np.int8)
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"a": left, "b": right})
    assert np.array_equal(product, left.astype(np.int32) @ right.astype(np.int32))


def test_storage_when_measured_then_leaves_nothing_behind(tmp_path: Path) -> None:
    rate = benchmark.storage_bytes_per_s(tmp_path)
    assert rate is not None
    assert rate > 0
    assert list(tmp_path.iterdir()) == []


def test_storage_when_the_folder_is_not_there_then_is_absent(tmp_path: Path) -> None:
    assert benchmark.storage_bytes_per_s(tmp_path / "gone") is None


def test_measurement_when_the_machine_is_another_one_then_does_not_hold(settings: Settings) -> None:
    note = {"key": "another machine", "value": Measured(measured_at="2026-01-01T00:00:00+00:00", fp32_macs_per_s=1.0)}
    (settings.state / "measured.json").write_bytes(msgspec.json.encode(note))
    assert kept.measured(settings) is None


def test_measurement_when_the_folder_cannot_be_written_then_fails_by_name(settings: Settings) -> None:
    (settings.state / "benchmark.lock").mkdir()
    with pytest.raises(AgentError) as caught:
        asyncio.run(kept.measure(settings, anew=True))
    assert caught.value.code == "benchmark.failed"


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"key": ""}', b'{"key": "", "value": -1}', b"\xff" * 70_000])
def test_note_when_damaged_then_is_absent(settings: Settings, damage: bytes) -> None:
    for name in ("download.json", "measured.json", "accelerators.json"):
        (settings.state / name).write_bytes(damage)
    assert kept.download_bytes_per_s(settings) is None
    assert kept.measured(settings) is None


def test_download_when_large_enough_then_its_rate_is_noted(settings: Settings) -> None:
    kept.note_download(settings, 2**20 - 1, 0.001)
    assert kept.download_bytes_per_s(settings) is None
    kept.note_download(settings, 4 * 2**20, 2.0)
    assert kept.download_bytes_per_s(settings) == 2 * 2**20


def test_note_when_this_machine_is_no_device_yet_then_nothing_is_written(tmp_path: Path) -> None:
    kept.note_download(Settings(state=tmp_path / "none"), 2**30, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_openvino_devices_when_named_then_the_processor_is_no_accelerator() -> None:
    assert named([("CPU", "Intel(R) N100"), ("GPU.0", "Intel(R) Iris(R) Xe"), ("NPU", ""), ("AUTO", "")]) == [
        Accelerator(kind="gpu", vendor="intel", name="Intel(R) Iris(R) Xe", found_by="openvino"),
        Accelerator(kind="npu", vendor="intel", name="NPU", found_by="openvino"),
    ]


def test_gpus_when_nvidias_library_is_not_there_then_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_LIBRARY", "libnvidia-ml-that-is-not-there.so.1")
    assert nvml.gpus() == []
