"""What is measured is measured alone; what works goes on beside what works."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from controller.compression.workers import alone


@pytest.fixture(autouse=True)
def lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def is_free(tmp_path: Path, how: int) -> bool:
    (path,) = tmp_path.iterdir()
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


@pytest.mark.parametrize(
    ("holding", "may_work"), [(alone.measuring, False), (alone.working, True)], ids=["measuring", "working"]
)
def test_machine_when_in_use_then_nothing_is_measured_and_only_work_goes_beside_work(
    tmp_path: Path, holding: type[AbstractContextManager[Iterator[None]]], may_work: bool
) -> None:
    with holding():
        assert (is_free(tmp_path, fcntl.LOCK_EX), is_free(tmp_path, fcntl.LOCK_SH)) == (False, may_work)
    assert is_free(tmp_path, fcntl.LOCK_EX)
