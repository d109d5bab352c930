"""Fixtures of the end-to-end tests: a controller on each pair of broker and database, agents that end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.db import Database
from tests.e2e.voyage import Agent, Controller
from tests.rig import BrokerAt


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
