"""What every test shares: which real parts are here, and what their absence means."""

import os
import shutil
from pathlib import Path

import pytest


def require(found: str | None, package: str) -> str:
    """Give the program, or skip with its install command; with CI=true its absence is a failure."""
    if found:
        return found
    message = f"needs {package}: sudo apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


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
