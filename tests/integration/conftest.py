"""Real brokers and a real gateway for the tests on MQTT."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.keys import Keys
from shoal.cli.broker import embedded_broker
from tests.rig import BrokerAt, Office, free_port, is_listening, wait_for

ACL = """\
user controller-1
topic readwrite #
pattern write shoal/1/%u/up/#
pattern read shoal/1/%u/down/#
pattern read shoal/1/controller/state
"""
MOSQUITTO = """\
listener {port} 127.0.0.1
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
set_tcp_nodelay true
max_queued_messages 100000
max_inflight_messages 0
message_size_limit 1048576
acl_file {folder}/acl
persistence true
persistence_location {folder}/
"""


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
    keys.issue_server_certificate(["127.0.0.1"])
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    for name in ("ca.pem", "server.pem", "server.key"):
        shutil.copy(tmp_path / name, folder / name)
    (folder / "acl").write_text(ACL)
    (folder / "mosquitto.conf").write_text(MOSQUITTO.format(port=port, folder=folder) + "user root\n")
    process = subprocess.Popen([mosquitto_program, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    wait_for(lambda: is_listening(port))
    yield BrokerAt(f"mqtts://127.0.0.1:{port}", keys, tmp_path, True)
    process.terminate()
    process.wait()


@pytest.fixture(params=["iotcore", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> BrokerAt:
    """Each of the two."""
    found: BrokerAt = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def office(broker: BrokerAt) -> Iterator[Office]:
    office = Office(broker)
    office.start()
    yield office
    office.close()
