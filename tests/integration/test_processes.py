"""The controller as a process: starts, says one sentence when it cannot, and stops on a signal."""

import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from controller import migrate
from controller.db import Database
from controller.keys import Keys
from tests.databases import make_tables
from tests.rig import BrokerAt, free_port


def environment(state: Path, **settings: object) -> dict[str, str]:
    named = {f"SHOAL_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, "SHOAL_STATE": str(state), "PYTHONUNBUFFERED": "1", **named}


def outcome(*arguments: str, settings: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "controller", *arguments], env=settings, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""


class Running:
    """A controller with all roles."""

    def __init__(self, broker: BrokerAt, **more: object) -> None:
        self.api_port, self.device_port = free_port(), free_port()
        self.state = broker.state
        settings = environment(
            self.state, api_port=self.api_port, device_port=self.device_port, broker_url=broker.url, **more
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller", "all"],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.http = urllib3.PoolManager(retries=urllib3.Retry(total=200, backoff_factor=0.1, backoff_max=0.1))

    def close(self) -> None:
        self.http.clear()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def running(iotcore: BrokerAt) -> Iterator[Running]:
    running = Running(iotcore)
    yield running
    running.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_when_started_then_both_doors_answer_and_a_signal_ends_it(running: Running, number: int) -> None:
    assert running.http.request("GET", f"http://127.0.0.1:{running.api_port}/v1/health").status == 200
    context = ssl.create_default_context(cadata=Keys.open(running.state).ca_pem)
    with urllib3.PoolManager(ssl_context=context) as verified:
        answer = verified.request("GET", f"https://127.0.0.1:{running.device_port}/device/v1/ca")
    assert answer.data.decode() == Keys.open(running.state).ca_pem
    running.process.send_signal(number)
    output, _ = running.process.communicate(timeout=20)
    assert running.process.returncode == 0
    assert re.fullmatch(r"SHOAL_ADMIN_PASSWORD \S{12,}\n", output)


def test_all_when_its_postgresql_is_empty_then_makes_the_tables(iotcore: BrokerAt, postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    running = Running(iotcore, database_url=postgresql_url)
    assert running.http.request("GET", f"http://127.0.0.1:{running.api_port}/v1/health").status == 200
    assert migrate.is_current(database)
    running.close()
    database.close()


def test_all_when_a_port_is_in_use_then_says_so_and_ends_with_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = environment(tmp_path, api_port=port, device_port=free_port())
        code, sentence = outcome("all", settings=settings)
    assert code == 1
    assert sentence.startswith(f"Cannot listen on 127.0.0.1:{port}")


def test_all_when_the_broker_is_missing_then_says_so_and_ends_with_1(tmp_path: Path) -> None:
    port = free_port()
    settings = environment(
        tmp_path, api_port=free_port(), device_port=free_port(), broker_url=f"mqtt://127.0.0.1:{port}"
    )
    code, sentence = outcome("all", settings=settings)
    assert code == 1
    assert sentence.startswith(f"The broker at 127.0.0.1:{port} does not answer (Connection refused): start it")


@pytest.mark.parametrize("role", ["api", "migrate"])
def test_role_when_the_database_is_missing_then_says_so_and_ends_with_1(tmp_path: Path, role: str) -> None:
    settings = environment(tmp_path, database_url=f"postgresql://shoal@127.0.0.1:{free_port()}/shoal")
    code, sentence = outcome(role, settings=settings)
    assert code == 1
    assert sentence.startswith("The database cannot be used (")


def test_role_when_not_migrated_then_names_the_command(tmp_path: Path) -> None:
    code, sentence = outcome("gateway", settings=environment(tmp_path))
    assert (code, "python -m controller migrate" in sentence) == (1, True)


def test_role_when_a_setting_is_no_number_then_names_it(tmp_path: Path) -> None:
    assert outcome("all", settings=environment(tmp_path, api_port="many")) == (
        1,
        "SHOAL_API_PORT='many' is not a valid int.",
    )


def test_all_when_the_disk_is_full_then_says_so_and_ends_with_1(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    make_tables(database)
    database.close()
    limited = (
        "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from controller.__main__ import main; sys.exit(main(['all']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited],
        env=environment(tmp_path, api_port=free_port(), device_port=free_port()),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_migrate_when_run_twice_then_the_tables_are_there(tmp_path: Path) -> None:
    for _ in range(2):
        assert outcome("migrate", settings=environment(tmp_path))[0] == 0
    with sqlite3.connect(tmp_path / "shoal.db") as connection:
        assert connection.execute("SELECT count(*) FROM devices").fetchone() == (0,)
    connection.close()
