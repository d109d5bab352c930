"""A real gateway for the tests on MQTT."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.device import Device
from tests.rig import BrokerAt, Office


@pytest.fixture
def office(broker: BrokerAt) -> Iterator[Office]:
    office = Office(broker)
    office.start()
    yield office
    office.close()


@pytest.fixture
def new_device(office: Office, broker: BrokerAt, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(*, can_train: bool = False) -> Device:
        made.append(Device(office, broker, tmp_path, can_train=can_train))
        return made[-1]

    yield make
    for device in made:
        device.close()
