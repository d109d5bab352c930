"""Whoever holds the broker, and agents as real processes to be attacked: for the tests whose names tell an attack."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import select

from agent import facts, status
from agent.identity import Identity
from agent.journal import Journal
from agent.settings import Settings
from controller.db import utc_now
from controller.devices import enrollment
from controller.devices.tables import DeviceRow
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.tables import ExecutionRow
from controller.observe import RefusalRow
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import envelope, signing
from shoal.wire.devices import EnrollAnswer, EnrollRequest
from shoal.wire.envelope import Message
from shoal.wire.executions import ExecutionKind
from tests.rig import BrokerAt, Office, wait_for


class BrokerHolder:
    """Hears and says everything on the embedded broker, but has nobody's key."""

    def __init__(self, broker: BrokerAt) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        url = urlsplit(broker.url)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="holder", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(url.username, url.password)
        self._client.on_message = lambda _c, _u, one: self.heard.append((one.topic, one.payload, one.retain))
        self._client.connect(url.hostname or "", url.port or 0)
        self._client.loop_start()
        wait_for(self._client.is_connected)
        self._client.subscribe("shoal/#", qos=1)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(20)

    def hears(self, topic: str, *parts: str) -> bytes:
        """Wait for a message on a topic that has these parts in its body."""
        return wait_for(lambda: next(iter(self.all(topic, *parts)), b""))

    def all(self, topic: str, *parts: str) -> list[bytes]:
        return [
            found for at, found, _ in list(self.heard) if at == topic and all(part in body_of(found) for part in parts)
        ]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def body_of(payload: bytes) -> str:
    return str(json.loads(payload)["body"]) if payload else ""


def unsigned(message: Message, topic: str) -> bytes:
    """Put a message into an envelope that nobody signed."""
    sealed = json.loads(envelope.seal(message, topic=topic, key=Ed25519PrivateKey.generate()))
    return json.dumps({**sealed, "key_id": "", "signature": ""}).encode()


def claiming(message: Message, topic: str, *, claimed: bytes) -> bytes:
    """Sign a message by a key of one's own, and claim that it was another's."""
    sealed = json.loads(envelope.seal(message, topic=topic, key=Ed25519PrivateKey.generate()))
    return json.dumps({**sealed, "key_id": signing.key_id_of(claimed)}).encode()


class AgentProcess:
    """`shoal-agent run` on a state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.device_id = Identity.open(state).device_id
        self._log = (state / "log").open("a")
        environment = {**os.environ, "SHOAL_AGENT_STATE": str(state), "SHOAL_AGENT_RUNTIMES": "none"}
        self._environment = environment
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agent", "run"], env=environment, stderr=self._log, stdout=self._log
        )

    @classmethod
    def enrolled(cls, office: Office, state: Path) -> Self:
        """Give the agent of a machine that was enrolled, without the HTTP door."""
        identity = Identity.open(state)
        told = facts.read_facts(Settings(state=state), "")
        with office.database.transaction() as session:
            _, token = enrollment.create_token(
                session, EnrollmentTokenRequest(), ca_digest=office.keys.ca_digest, actor="test"
            )
            request = EnrollRequest(token=token, csr=identity.certificate_request(), facts=told)
            answer = enrollment.enroll(session, office.keys, office.settings, request, utc_now())
        assert isinstance(answer, EnrollAnswer)
        identity.keep(answer, "https://127.0.0.1:1")
        journal = Journal(state / "journal.db")
        journal.begin_session(answer.session_floor)  # as enrolment does: without it the count would seem lost
        journal.close()
        return cls(state)

    def log(self) -> str:
        return (self.state / "log").read_text()

    def logs(self, *parts: str) -> None:
        """Wait for a line of its log that has these parts."""
        wait_for(lambda: any(all(part in line for part in parts) for line in self.log().splitlines()))

    def status(self) -> dict[str, Any]:
        return status.read(Settings(state=self.state))

    def screen(self) -> str:
        """Give what `shoal-agent status` shows."""
        command = [sys.executable, "-m", "agent", "status"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True)
        return " ".join(done.stdout.split())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


def device_row(office: Office, device_id: str) -> DeviceRow:
    with office.database.reading() as session:
        return session.get_one(DeviceRow, device_id)


def refusals(office: Office) -> dict[tuple[str, str], int]:
    with office.database.reading() as session:
        return {(row.device_id, row.code): row.count for row in session.scalars(select(RefusalRow))}


def ask(office: Office, device_id: str) -> str:
    """Want a sign of life of a device, whatever its state; gives the execution."""
    work = Work(
        kind=ExecutionKind.COMMAND,
        device_id=device_id,
        owner_id="test",
        spec={"name": "ping"},
        sent_timeout_s=30,
        progress_timeout_s=300,
    )
    with office.database.transaction() as session:
        return executions.create(session, work).id


def execution(office: Office, execution_id: str) -> ExecutionRow:
    with office.database.reading() as session:
        return session.get_one(ExecutionRow, execution_id)


def answers(office: Office, device_id: str) -> None:
    """See that a device works: what was said to it before has been heard then."""
    execution_id = ask(office, device_id)
    wait_for(lambda: execution(office, execution_id).state == "succeeded")
