"""What every test shares: which real parts are here, and what their absence means."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.broker import CONFIG, write_config
from controller.db import Database
from controller.keys import Keys
from shoal import toolchain
from shoal.cli.embedded_broker import embedded_broker
from tests import objectstore
from tests.objectstore import ObjectStore
from tests.rig import BrokerAt, broker_plan, free_port, is_listening, wait_for

# Hundreds of processes start here, and without its bytecode each of them would compile all of Shoal.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The folders whose files take longest come first, so that no worker is alone with one of them in the end.
LONGEST_FIRST = ("e2e", "integration", "conformance", "numerics")


def pytest_configure(config: pytest.Config) -> None:
    """Keep our order: xdist would begin with the files that have most tests, and those are the quick ones."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the longest tests first."""

    def place(item: pytest.Item) -> int:
        folders = item.path.parts
        return next((number for number, name in enumerate(LONGEST_FIRST) if name in folders), len(LONGEST_FIRST))

    items.sort(key=place)


def require(found: str | None, package: str, command: str = "") -> str:
    """Give the program, or skip with its install command; with CI=true its absence is a failure.

    Args:
        command: Where Debian's packages do not have it.
    """
    if found:
        return found
    message = f"needs {package}: {command or f'sudo apt-get install {package}'}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def toolchain_python() -> Path:
    """The converters' Python."""
    found = toolchain.python()
    if found is None:
        message = f"needs the converters' toolchain: {toolchain.COMMAND}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    return found


@pytest.fixture(scope="session")
def mosquitto_program() -> str:
    """Path of Mosquitto's broker."""
    return require(shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin"), "mosquitto")


@pytest.fixture(scope="session")
def postgresql_programs() -> Path:
    """Folder with initdb and pg_ctl."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(require(str(found[-1]) if found else None, "postgresql")).parent


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """Path of Chromium."""
    return require(shutil.which("chromium"), "chromium")


@pytest.fixture(scope="session")
def postgresql_url(postgresql_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test session; it refuses to run as root, so root lends it another user."""
    folder = tmp_path_factory.mktemp("postgresql")
    port = free_port()
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
        for parent in list(folder.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    data = folder / "data"
    initdb, pg_ctl = postgresql_programs / "initdb", postgresql_programs / "pg_ctl"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    subprocess.run(
        [*as_user, initdb, "-D", data, "-A", "trust", "-U", "shoal", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    subprocess.run(
        [*as_user, pg_ctl, "-D", data, "-o", options, "-l", folder / "log", "-w", "start"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    yield f"postgresql://shoal@127.0.0.1:{port}/postgres"
    subprocess.run(
        [*as_user, pg_ctl, "-D", data, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    else:
        database = Database(request.getfixturevalue("postgresql_url"))
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    yield database
    database.close()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server of this test session."""
    with objectstore.serve(tmp_path_factory.mktemp("objects")) as store:
        yield store


@pytest.fixture
def iotcore(tmp_path: Path) -> Iterator[BrokerAt]:
    """The embedded broker."""
    port = free_port()
    with embedded_broker(tmp_path, port=port, password="secret"):
        yield BrokerAt(f"mqtt://shoal:secret@127.0.0.1:{port}", Keys.open(tmp_path), tmp_path, False)


@pytest.fixture
def mosquitto(tmp_path: Path, mosquitto_program: str) -> Iterator[BrokerAt]:
    """Mosquitto with mTLS and an access list for each device."""
    port, keys = free_port(), Keys.open(tmp_path)
    folder = tmp_path / "mosquitto"
    write_config(folder, broker_plan(folder, port), keys, is_forced=False)
    process = subprocess.Popen([mosquitto_program, "-c", folder / CONFIG], stderr=subprocess.DEVNULL)
    wait_for(lambda: is_listening(port))
    yield BrokerAt(f"mqtts://127.0.0.1:{port}", keys, tmp_path, True)
    process.terminate()
    process.wait()


@pytest.fixture(params=["iotcore", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> BrokerAt:
    """Each of the two."""
    found: BrokerAt = request.getfixturevalue(request.param)
    return found
