"""Fixtures of the end-to-end tests: a controller on each pair of broker and database, agents that end with the test."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from controller.db import Database
from tests.e2e.browser import FLAGS, PATIENCE_MS, dashboard_settings
from tests.e2e.voyage import Agent, Controller
from tests.rig import BrokerAt, free_port, is_listening, wait_for


@pytest.fixture
def controller(broker: BrokerAt, request: pytest.FixtureRequest) -> Iterator[Controller]:
    """The embedded parts together, and the real ones together: Mosquitto with PostgreSQL."""
    database_url = ""
    if broker.has_access_list:
        database_url = request.getfixturevalue("postgresql_url")
        database = Database(database_url)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        database.close()
    controller = Controller(broker, database_url)
    yield controller
    controller.close()


@pytest.fixture
def new_agent(controller: Controller, tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    agents: list[Agent] = []

    def make() -> Agent:
        agents.append(Agent(tmp_path / f"agent{len(agents)}", controller, controller.token()))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


@pytest.fixture
def dashboard_url(controller: Controller, tmp_path: Path) -> Iterator[str]:
    """A dashboard process; it ends without an error, and says nothing but its address."""
    port, log = free_port(), tmp_path / "dashboard.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard"],
            env=dashboard_settings(controller, port),
            stdout=output,
            stderr=output,
        )
    wait_for(lambda: is_listening(port))
    url = f"http://127.0.0.1:{port}"
    yield url
    process.terminate()
    assert process.wait(20) == 0
    assert log.read_text() == f"Dashboard: {url}\n"


@pytest.fixture(scope="module")
def browser(chromium_program: str) -> Iterator[Browser]:
    """A browser; of a module, as other tests' event loops cannot run beside its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a visitor of its own, as a new browser would have it; nothing failed in it."""
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert problems == []
