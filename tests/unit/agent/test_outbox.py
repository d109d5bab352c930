"""What the device has to say: it waits in the journal, and leaves it when the broker has it."""

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.identity import Identity
from agent.journal import Journal
from agent.link import Handlers, Link
from agent.outbox import Outbox, Stamp
from shoal.wire import envelope, topics
from shoal.wire.envelope import Message
from shoal.wire.executions import ExecutionReport, ReportState
from tests.rig import BrokerAt


class Ear:
    """Hears what a device says on the broker."""

    def __init__(self, broker: BrokerAt) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        url = urlsplit(broker.url)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(url.username, url.password)
        self._client.on_message = lambda _client, _userdata, message: self.heard.put((message.topic, message.payload))
        subscribed = queue.Queue[None]()
        self._client.on_subscribe = lambda *_: subscribed.put(None)
        self._client.connect(url.hostname or "", url.port or 0)
        self._client.subscribe("shoal/1/+/up/execution", qos=1)
        self._client.loop_start()
        subscribed.get(timeout=10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def ear(iotcore: BrokerAt) -> Iterator[Ear]:
    ear = Ear(iotcore)
    yield ear
    ear.close()


def report(name: str) -> Any:
    def make(stamp: Stamp) -> Message:
        return ExecutionReport(
            id=stamp.id,
            session=stamp.session,
            sequence=stamp.sequence,
            execution_id=name,
            attempt=1,
            state=ReportState.IN_PROGRESS,
        )

    return make


async def nothing(_was_refused: bool) -> None:
    """There is nothing to do before a session."""


@contextlib.asynccontextmanager
async def connected(identity: Identity, outbox: Outbox, url: str) -> AsyncIterator[None]:
    identity.enrolled = msgspec.structs.replace(identity.known(), broker_url=url)
    link = Link(
        identity,
        Handlers(
            prepare=nothing,
            begin_session=outbox.begin_session,
            connected=outbox.wake,
            received=lambda _topic, _payload: None,
        ),
    )
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(outbox.publish(link))]
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def sent(journal: Journal) -> None:
    while journal.messages():
        await asyncio.sleep(0.01)


def test_messages_when_said_before_there_is_a_session_then_arrive_signed_and_in_order(
    identity: Identity, journal: Journal, outbox: Outbox, iotcore: BrokerAt, ear: Ear
) -> None:
    for name in ("e1", "e2", "e3"):
        outbox.add("execution", report(name))
    assert len(journal.messages()) == 3

    async def story() -> None:
        async with connected(identity, outbox, iotcore.url):
            await sent(journal)

    asyncio.run(story())
    heard = [ear.heard.get(timeout=10) for _ in range(3)]
    assert {topic for topic, _ in heard} == {topics.up(identity.device_id, "execution")}
    found = [
        envelope.open_envelope(payload, topic=topic, public_key_of=public_key(identity)) for topic, payload in heard
    ]
    assert [one.execution_id for one in found if isinstance(one, ExecutionReport)] == ["e1", "e2", "e3"]


def test_messages_when_the_session_ends_then_wait_for_the_next(
    identity: Identity, journal: Journal, outbox: Outbox, iotcore: BrokerAt, ear: Ear
) -> None:
    async def story() -> None:
        async with connected(identity, outbox, iotcore.url):
            outbox.add("execution", report("e1"))
            await sent(journal)
        outbox.add("execution", report("e2"))
        assert len(journal.messages()) == 1
        async with connected(identity, outbox, iotcore.url):
            await sent(journal)

    asyncio.run(story())
    assert [ear.heard.get(timeout=10)[0] for _ in range(2)] == [topics.up(identity.device_id, "execution")] * 2


def test_messages_when_the_agent_was_killed_then_are_said_by_the_next_one(
    identity: Identity, journal: Journal, outbox: Outbox, iotcore: BrokerAt, ear: Ear, tmp_path: Path
) -> None:
    outbox.add("execution", report("e1"))
    again = Journal(tmp_path / "device" / "journal.db")

    async def story() -> None:
        async with connected(identity, Outbox(identity, again, "boot"), iotcore.url):
            await sent(again)

    asyncio.run(story())
    again.close()
    assert ear.heard.get(timeout=10)[0] == topics.up(identity.device_id, "execution")
    assert journal.messages() == []


def test_stamps_when_a_session_begins_then_count_from_one_in_a_higher_session(outbox: Outbox) -> None:
    first = outbox.stamp()
    second = outbox.stamp()
    session = outbox.begin_session()
    third = outbox.stamp()
    assert (first.sequence, second.sequence, third.sequence) == (1, 2, 1)
    assert first.session == second.session == session - 1
    assert third.id == f"{session}-1"


def public_key(identity: Identity) -> Any:
    """Give the device's own key by any id, as the gateway does."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from shoal.wire import signing

    key = load_pem_private_key((identity.ca_path().parent / "device.key").read_bytes(), password=None)
    raw = signing.raw_public_key(key.public_key())  # type: ignore[arg-type]
    return {signing.key_id_of(raw): raw}.get
