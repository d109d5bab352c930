"""Local data is read into memory as a whole: how much of it is read, and what a data set without samples gives."""

from pathlib import Path

import numpy as np
import pytest

from shoal.training import dataset
from shoal.training.dataset import BadDataset, read_dataset, write_shard

X = np.zeros((3, 2, 4), np.float32)
Y = np.zeros(3, np.int64)


@pytest.mark.parametrize(("bound", "allowed"), [("MAX_SHARD_BYTES", 1), ("MAX_DATASET_BYTES", 2)])
def test_dataset_when_one_byte_too_large_then_is_refused_by_name_and_at_the_bound_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, allowed: int
) -> None:
    shard_bytes = [write_shard(tmp_path / "d", X, Y).stat().st_size for _ in range(2)]
    at_the_bound = sum(shard_bytes[:allowed])
    monkeypatch.setattr(dataset, bound, at_the_bound)
    assert len(read_dataset(tmp_path / "d")) == 6
    monkeypatch.setattr(dataset, bound, at_the_bound - 1)
    with pytest.raises(BadDataset) as caught:
        read_dataset(tmp_path / "d")
    assert caught.value.code == "dataset.too_large"


def test_dataset_when_it_has_no_sample_then_still_has_their_shape_and_types(tmp_path: Path) -> None:
    write_shard(tmp_path / "d", X[:0], Y[:0])
    found = read_dataset(tmp_path / "d")
    assert found.x.shape == (0, 2, 4)
    assert [array.dtype.name for array in (found.x, found.y, found.at)] == ["float32", "int64", "int64"]
