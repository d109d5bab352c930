"""Attacks on the devices' door on MQTT: by devices, by strangers, and by whoever holds the broker."""

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from controller.db import utc_now
from controller.devices import identity
from controller.devices.tables import SessionRow
from controller.events import OutboxRow
from controller.executions import service as executions
from shoal.wire import envelope, signing, topics
from shoal.wire.devices import Birth, FactsReport, Will
from shoal.wire.executions import ExecutionReport, ReportState
from tests.attacker import BrokerHolder, ask, claiming, device_row, execution, refusals, unsigned
from tests.device import Device
from tests.rig import BrokerAt, Office, wait_for

Make = Callable[[], Device]


@pytest.fixture
def holder(iotcore: BrokerAt, office: Office) -> Iterator[BrokerHolder]:
    holder = BrokerHolder(iotcore)
    yield holder
    holder.close()


@pytest.fixture
def victim(new_device: Make) -> Device:
    return new_device()


def born(office: Office, device: Device, session: int = 1) -> None:
    device.birth(session=session)
    wait_for(lambda: device_row(office, device.id).session == session)


def heard_until_now(office: Office, device: Device, sequence: int) -> None:
    """See that all that was said on the device's connection before has been taken."""
    device.say("facts", FactsReport(id="f", session=99, sequence=sequence, facts=device.facts))
    wait_for(lambda: device_row(office, device.id).facts_sequence == sequence)


def birth_of(session: int = 1, instance: str = "i") -> Birth:
    return Birth(id=f"{session}-1", session=session, instance=instance, boot_id="b", agent_version="0.1.0")


def public_key(device: Device) -> bytes:
    return signing.raw_public_key(device.key.public_key())


@pytest.mark.parametrize("message", [birth_of(5), Will(session=1)], ids=["birth", "will"])
def test_forged_presence_when_not_signed_by_its_device_then_is_refused_and_changes_nothing(
    office: Office, victim: Device, message: Any
) -> None:
    """The attack: who can publish on a device's topic lets it be born, or go, without its key."""
    born(office, victim)
    topic = topics.up(victim.id, "presence")
    victim.shout(topic, unsigned(message, topic))
    victim.say("presence", message, key=Ed25519PrivateKey.generate())
    victim.shout(topic, claiming(message, topic, claimed=public_key(victim)))
    counted = {"signature.missing": 1, "signature.unknown_key": 1, "signature.invalid": 1}
    wait_for(lambda: refusals(office) == {(victim.id, code): times for code, times in counted.items()})
    row = device_row(office, victim.id)
    assert (row.online, row.session, row.state) == (True, 1, "active")


def test_late_will_when_it_comes_after_the_new_birth_then_the_device_stays_online(
    office: Office, victim: Device
) -> None:
    """The attack: a broker keeps the will of an old session back until the device is there again."""
    born(office, victim, 3)
    victim.say("presence", Will(session=2))
    heard_until_now(office, victim, 1)
    assert device_row(office, victim.id).online


def test_replayed_births_when_signed_once_by_the_device_then_suspend_nobody(office: Office, victim: Device) -> None:
    """The attack: a broker repeats births of the past, which are signed, so that the device looks like a clone."""
    topic = topics.up(victim.id, "presence")
    births = [envelope.seal(birth_of(number, f"process {number}"), topic=topic, key=victim.key) for number in (1, 2, 3)]
    for payload in births * 3:
        victim.shout(topic, payload)
    heard_until_now(office, victim, 1)
    row = device_row(office, victim.id)
    assert (row.state, row.session, row.online) == ("active", 3, True)
    assert refusals(office) == {}


def test_clone_when_two_machines_have_one_key_then_both_are_out(office: Office, victim: Device) -> None:
    """The attack: a thief copied the key, and counts its sessions as the device does."""
    born(office, victim, 7)
    waiting = ask(office, victim.id)
    victim.say("presence", birth_of(7, "thief"))
    wait_for(lambda: device_row(office, victim.id).state == "suspended")
    row = device_row(office, victim.id)
    assert (row.state_reason, row.online) == ("cloned", False)
    assert execution(office, waiting).waiting_for["code"] == "device_suspended"


def test_report_when_of_another_devices_execution_then_is_refused_and_ends_nothing(
    office: Office, new_device: Make
) -> None:
    """The attack: an enrolled device says, under its own name, that another one's work is done."""
    victim, rogue = new_device(), new_device()
    born(office, victim)
    execution_id = ask(office, victim.id)
    report = ExecutionReport(
        id="1-2", session=1, sequence=2, execution_id=execution_id, attempt=1, state=ReportState.SUCCEEDED
    )
    rogue.say("execution", report)
    wait_for(lambda: refusals(office) == {(rogue.id, "execution.not_found"): 1})
    assert execution(office, execution_id).state == "sent"


def test_nested_message_when_ten_thousand_brackets_deep_then_is_refused_and_the_next_one_is_heard(
    office: Office, victim: Device
) -> None:
    """The attack: a message that no parser survives stays with the broker, and stops every device's messages."""
    for body in ("{}", '{"kind":"telemetry","id":"1","session":1,"sequence":1,"at":"","x":' + "[" * 5000):
        sealed = envelope.seal_text("telemetry", body, topic="")
        victim.shout(topics.up(victim.id, "telemetry"), sealed[:-1] + b',"x":' + b"[" * 9000)
        victim.shout(topics.up(victim.id, "telemetry"), sealed)
    wait_for(lambda: refusals(office) == {(victim.id, "message.malformed"): 4})
    born(office, victim)


def test_result_when_nested_too_deeply_then_is_refused(office: Office, victim: Device) -> None:
    """The attack: a signed result that can be read, but neither stored nor shown."""
    born(office, victim)
    deep = "[" * 900 + "]" * 900
    body = f'{{"kind":"execution_report","id":"1-1","session":1,"sequence":1,"execution_id":"{ask(office, victim.id)}",'
    body += f'"attempt":1,"state":"succeeded","result":{{"a":{deep}}}}}'
    topic = topics.up(victim.id, "execution")
    victim.shout(topic, envelope.seal_text("execution_report", body, topic=topic, key=victim.key))
    wait_for(lambda: refusals(office) == {(victim.id, "message.malformed"): 1})


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_topics_when_ids_are_odd_then_are_refused_and_counted(
    office: Office, victim: Device, holder: BrokerHolder
) -> None:
    """The attack: ids of 10 kB, of other signs, with what means something in paths, topics or terminals."""
    odd = ["d-" + "a" * 10_000, "d-🐟", "D-AAAAAAAAAAAAAAAA", "..", " ", "d-aaaaaaaaaaaaaaa\n", "$SYS", "\x1b[31m"]
    for device_id in odd:
        holder.say(topics.up(device_id, "facts"), b"{}")
    holder.say(topics.up(victim.id, "order"), b"{}")
    wait_for(lambda: refusals(office) == {("", "topic.unknown"): len(odd) + 1})
    born(office, victim)


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_oversized_packet_when_over_the_brokers_size_then_its_sender_is_cut_off_and_nobody_else(
    office: Office, new_device: Make
) -> None:
    """The attack: a device sends what is larger than any message, to fill the broker's memory."""
    victim, rogue = new_device(), new_device()
    cut_off: queue.Queue[Any] = queue.Queue()
    rogue._client.on_disconnect = lambda *_: cut_off.put(None)
    rogue._client.publish(topics.up(rogue.id, "facts"), bytes(5 * envelope.MAX_ENVELOPE_BYTES), qos=0)
    cut_off.get(timeout=20)
    born(office, victim)
    assert refusals(office) == {}


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_suspended_device_when_the_broker_has_no_list_then_is_out_from_the_transaction_on(
    office: Office, victim: Device, holder: BrokerHolder
) -> None:
    """The attack: a stolen device goes on talking on a broker that lets everybody in. The first layer holds alone."""
    born(office, victim)
    holder.hears(topics.down(victim.id, "desired"))
    ended: queue.Queue[Any] = queue.Queue()
    victim._client.on_disconnect = lambda *_: ended.put(None)
    with office.database.transaction() as session:
        device = identity.suspend(session, victim.id, "stolen", utc_now())
        executions.on_state_change(session, device, utc_now())
    ended.get(timeout=20)  # taken over
    wait_for(victim._client.is_connected)  # this broker lets it in again
    victim.say("facts", FactsReport(id="1-2", session=1, sequence=2, facts=victim.facts))
    wait_for(lambda: refusals(office) == {(victim.id, "device.suspended"): 1})
    wait_for(lambda: not outbox(office))
    late = BrokerHolder(BrokerAt(office.settings.broker_url, office.keys, office.settings.state, False))
    kept = late.hears(topics.CONTROLLER_STATE)
    late.close()
    assert kept
    assert late.all(topics.down(victim.id, "desired")) == []
    assert device_row(office, victim.id).facts_sequence == 0
    with office.database.reading() as session:
        assert [row.end for row in session.scalars(select(SessionRow))] == ["refused"]


def outbox(office: Office) -> list[OutboxRow]:
    with office.database.reading() as session:
        return list(session.scalars(select(OutboxRow)))
