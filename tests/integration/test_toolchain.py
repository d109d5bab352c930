"""The converters' Python: when it counts as installed, and what an installation leaves behind. pip itself is real."""

import fcntl
import sys
from pathlib import Path

import pytest

from shoal import toolchain
from shoal.toolchain import ToolchainError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SHOAL_CONVERTER_PYTHON", raising=False)
    return tmp_path / "shoal/toolchain"


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pins of nothing, so that an installation is an empty environment."""
    path = tmp_path / "pins.txt"
    path.write_text("# nothing\n")
    monkeypatch.setattr(toolchain, "pins", lambda: path)
    return path


def install() -> Path:
    return toolchain.install(lambda _share, _words: None)


def test_pins_when_read_then_each_names_one_version_and_no_place() -> None:
    lines = toolchain.requirements()
    assert len(lines) > 50
    assert all(line.count("==") == 1 and "/" not in line and "+" not in line for line in lines)


def test_location_when_the_pins_change_then_is_another(pins: Path) -> None:
    before = toolchain.location()
    pins.write_text("numpy==2.4.6\n")
    assert toolchain.location() != before
    assert len(before.name) == 16


def test_toolchain_when_installed_then_counts_and_when_removed_then_not(pins: Path, cache: Path) -> None:
    assert toolchain.python() is None
    said: list[float] = []
    path = toolchain.install(lambda share, _: said.append(share))
    assert (toolchain.python(), path.is_file(), said[-1]) == (path, True, 1.0)
    assert install() == path
    assert toolchain.remove() > 0
    assert toolchain.python() is None
    assert [one.name for one in cache.iterdir()] == ["lock"]


def test_toolchain_when_an_installation_was_killed_then_does_not_count_and_is_begun_anew(pins: Path) -> None:
    folder = toolchain.location()
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_text("half")
    assert toolchain.python() is None
    assert (install(), (folder / "bin/python").read_bytes()[:4] != b"half") == (folder / "bin/python", True)


def test_installation_when_pip_fails_then_says_why_and_leaves_nothing(pins: Path, cache: Path) -> None:
    pins.write_text("no-such-package-of-shoal @ file:///nowhere/none-1-py3-none-any.whl\n")
    with pytest.raises(ToolchainError) as caught:
        install()
    assert caught.value.code == "toolchain.not_installed"
    assert "nowhere" in str(caught.value)
    assert [one.name for one in cache.iterdir()] == ["lock"]


def test_installation_when_another_runs_then_is_refused(pins: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for begin in (install, toolchain.remove):
            with pytest.raises(ToolchainError) as caught:
                begin()
            assert caught.value.code == "toolchain.in_progress"


def test_installation_when_the_disk_is_too_small_then_is_refused_before_it_begins(
    pins: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "NEEDED_BYTES", 2**60)
    with pytest.raises(ToolchainError) as caught:
        install()
    assert caught.value.code == "toolchain.no_space"
    assert not toolchain.location().exists()


def test_python_when_named_by_the_environment_then_is_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CONVERTER_PYTHON", sys.executable)
    assert toolchain.python() == Path(sys.executable)
    monkeypatch.setenv("SHOAL_CONVERTER_PYTHON", "/nowhere/python")
    assert toolchain.python() is None
    assert "/nowhere/python" in toolchain.missing()
