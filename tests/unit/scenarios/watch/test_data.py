"""Arrays out of a pickle, and nothing else."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from scenarios.errors import StepFailed
from scenarios.watch.data import read_arrays


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/never",)


def test_arrays_when_pickled_then_come_out_as_they_went_in(tmp_path: Path) -> None:
    kept = {"X": [np.arange(6.0).reshape(2, 3)], "y": np.array([1]), "names": ["a"]}
    np.save(tmp_path / "kept.npy", np.array(kept, dtype=object))
    found = read_arrays(tmp_path / "kept.npy")
    assert (found["names"], found["y"].tolist()) == (["a"], [1])
    np.testing.assert_array_equal(found["X"][0], kept["X"][0])


def test_arrays_when_the_pickle_would_call_something_then_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "hostile.npy", np.array({"X": Hostile()}, dtype=object))
    with pytest.raises(StepFailed, match=r"would call posix\.system"):
        read_arrays(tmp_path / "hostile.npy")


def test_arrays_when_cut_off_then_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "cut.npy", np.array({"X": 1}, dtype=object))
    data = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[: -len(pickle.dumps({"X": 1})) // 2])
    with pytest.raises(StepFailed):
        read_arrays(tmp_path / "cut.npy")
