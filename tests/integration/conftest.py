"""A real gateway for the tests on MQTT."""

from collections.abc import Iterator

import pytest

from tests.rig import BrokerAt, Office


@pytest.fixture
def office(broker: BrokerAt) -> Iterator[Office]:
    office = Office(broker)
    office.start()
    yield office
    office.close()
