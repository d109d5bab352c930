"""Local data on a device: what is written comes back, and what is wrong is refused by name."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.training import dataset
from shoal.training.dataset import HEADER, BadDataset, fingerprint, read_dataset, write_shard
from shoal.wire.tensors import encode_tensors

X = np.arange(12, dtype=np.float32).reshape(3, 4)
Y = np.array([0, 1, 2], np.int64)


def test_shards_when_written_then_come_back_in_order(tmp_path: Path) -> None:
    write_shard(tmp_path / "d", X, Y)
    write_shard(tmp_path / "d", X + 100, Y)
    found = read_dataset(tmp_path / "d")
    np.testing.assert_array_equal(found.x, np.concatenate([X, X + 100]))
    np.testing.assert_array_equal(found.y, np.concatenate([Y, Y]))


def test_samples_when_asked_since_a_moment_then_only_newer_ones_come(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    noon_us = int(noon.timestamp() * 1_000_000)
    write_shard(tmp_path / "d", X, Y)  # of no known time
    write_shard(tmp_path / "d", X, Y, at=np.array([noon_us - 1, noon_us, noon_us + 1], np.int64))
    assert read_dataset(tmp_path / "d", noon).y.tolist() == [1, 2]


def test_shard_when_half_written_then_is_not_seen(tmp_path: Path) -> None:
    write_shard(tmp_path / "d", X, Y)
    (tmp_path / "d" / ".0.safetensors.new").write_bytes(b"half")
    assert len(read_dataset(tmp_path / "d")) == 3


def test_dataset_when_missing_then_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataset) as caught:
        read_dataset(tmp_path / "d")
    assert caught.value.code == "dataset.not_found"


@pytest.mark.parametrize(
    "tensors",
    [
        {"x": X},
        {"x": X.astype(np.float64), "y": Y},
        {"x": X[:, :3].copy(), "y": Y},
        {"x": X, "y": Y[:2]},
        {"x": X, "y": Y.astype(np.int32)},
        {"x": X, "y": Y - 1},
        {"x": np.full_like(X, np.nan), "y": Y},
        {"x": X, "y": Y, "at": Y[:1]},
    ],
)
def test_shard_when_wrong_then_is_refused_by_name(tmp_path: Path, tensors: dict[str, Any]) -> None:
    write_shard(tmp_path / "d", X, Y)
    (tmp_path / "d" / "z.safetensors").write_bytes(encode_tensors(tensors))
    with pytest.raises(BadDataset) as caught:
        read_dataset(tmp_path / "d")
    assert caught.value.code == "dataset.malformed"


@pytest.mark.parametrize(
    ("name", "data"),
    [("z.safetensors", b"no tensors"), (HEADER, b"{"), (HEADER, b'{"v": 2, "sample_shape": [4]}')],
)
def test_file_when_it_does_not_parse_then_is_refused_by_name(tmp_path: Path, name: str, data: bytes) -> None:
    write_shard(tmp_path / "d", X, Y)
    (tmp_path / "d" / name).write_bytes(data)
    with pytest.raises(BadDataset) as caught:
        read_dataset(tmp_path / "d")
    assert caught.value.code == "dataset.malformed"


def test_shard_when_its_samples_have_another_shape_then_is_not_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "d", X, Y)
    with pytest.raises(BadDataset):
        write_shard(tmp_path / "d", X[:, :2].copy(), Y)
    assert len(read_dataset(tmp_path / "d")) == 3


def test_samples_when_too_many_for_a_shard_then_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_SHARD_BYTES", 8000)
    with pytest.raises(BadDataset) as caught:
        write_shard(tmp_path / "d", np.zeros((3, 1000), np.float32), Y)
    assert caught.value.code == "dataset.too_large"


def test_fingerprint_when_a_shard_comes_or_changes_then_is_another(tmp_path: Path) -> None:
    states = [fingerprint(tmp_path / "d")]
    write_shard(tmp_path / "d", X, Y)
    states.append(fingerprint(tmp_path / "d"))
    assert fingerprint(tmp_path / "d") == states[-1]
    write_shard(tmp_path / "d", X, Y)
    states.append(fingerprint(tmp_path / "d"))
    assert len(set(states)) == 3
