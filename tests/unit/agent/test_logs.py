"""The log's files: bounded, private, in UTC."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import logs
from agent.logs import LogFile, UtcFormatter


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    found = logging.Logger("agent.test")
    handler = LogFile(tmp_path)
    handler.setFormatter(UtcFormatter())
    found.addHandler(handler)
    yield found
    handler.close()


def test_line_when_logged_then_has_its_time_in_utc(logger: logging.Logger, tmp_path: Path) -> None:
    record = logging.LogRecord("agent.link", logging.WARNING, "", 0, "gone: %s", ("cable",), None)
    record.created, record.msecs = 1_700_000_000.25, 250
    logger.handle(record)
    assert logs.end_of(tmp_path, 1000) == b"2023-11-14T22:13:20.250Z WARNING agent.link: gone: cable\n"


def test_files_when_written_then_are_the_agents_alone(logger: logging.Logger, tmp_path: Path) -> None:
    logger.info("a line")
    assert stat.S_IMODE((tmp_path / "logs/agent.log").stat().st_mode) == 0o600


def test_log_when_full_then_two_files_stay_and_the_newest_lines_are_there(
    logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 2000)
    for number in range(200):
        logger.info("line %03d", number)
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"agent.log", "agent.log.1"}
    found = logs.end_of(tmp_path, 10**6).decode().splitlines()
    assert sum(len(line) + 1 for line in found) < 2 * 2100
    assert found[-1].endswith("line 199")
    assert [int(line[-3:]) for line in found] == list(range(200 - len(found), 200))


@pytest.mark.parametrize("most", [100, 1000, 1999, 2000])
def test_end_when_less_is_wanted_then_is_whole_lines_of_it(
    logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 2000)
    for number in range(200):
        logger.info("line é %03d", number)
    end = logs.end_of(tmp_path, most)
    lines = end.decode().splitlines()
    assert most - 60 < len(end) <= most
    assert [int(line[-3:]) for line in lines] == list(range(200 - len(lines), 200))
    assert all(line.startswith("20") for line in lines)


def test_end_when_there_is_no_log_then_is_empty(tmp_path: Path) -> None:
    assert logs.end_of(tmp_path, 1000) == b""


def test_line_when_the_disk_is_full_then_is_lost_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/agent.log").symlink_to("/dev/full")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("agent.logs.os.O_NOFOLLOW", 0)
        handler = LogFile(tmp_path)
    logger = logging.Logger("agent.test")
    logger.addHandler(handler)
    logger.info("lost")
    handler.close()


def test_line_when_endless_then_is_cut(logger: logging.Logger, tmp_path: Path) -> None:
    logger.info("x" * 100_000)
    assert len(logs.end_of(tmp_path, 10**6)) < 17_000


def test_log_when_its_file_is_a_link_then_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/agent.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"agent\.log"):
        LogFile(tmp_path)
