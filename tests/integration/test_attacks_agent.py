"""Attacks on agents, as real processes, by whoever holds the broker: it has everything but the controller's key."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.db import utc_now
from controller.devices import service as devices
from shoal.wire import envelope, signing, topics
from shoal.wire.commands import CommandSpec
from shoal.wire.devices import ControllerState, Refusal
from shoal.wire.executions import Cancel, ExecutionKind, Offer
from shoal.wire.rollouts import Desired
from tests.attacker import (
    AgentProcess,
    BrokerHolder,
    answers,
    ask,
    body_of,
    claiming,
    device_row,
    execution,
    unsigned,
)
from tests.rig import BrokerAt, Office, wait_for


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def broker(iotcore: BrokerAt) -> BrokerAt:
    return iotcore


@pytest.fixture
def holder(broker: BrokerAt, opened: ExitStack) -> BrokerHolder:
    holder = BrokerHolder(broker)
    opened.callback(holder.close)
    return holder


@pytest.fixture
def agent(office: Office, holder: BrokerHolder, tmp_path: Path, opened: ExitStack) -> AgentProcess:
    agent = AgentProcess.enrolled(office, tmp_path / "agent")
    opened.callback(agent.close)
    wait_for(lambda: device_row(office, agent.device_id).online)
    return agent


def offer_of(execution_id: str, number: int) -> Offer:
    spec = msgspec.Raw(msgspec.json.encode(CommandSpec(name="ping")))
    return Offer(
        execution_id=execution_id,
        type=ExecutionKind.COMMAND,
        attempt=1,
        epoch=1,
        number=number,
        timeout_s=60,
        spec=spec,
    )


def test_replayed_command_when_the_device_forgot_it_then_is_not_done_again(
    office: Office, agent: AgentProcess, holder: BrokerHolder
) -> None:
    """The attack: the broker repeats an old order, signed as it is, when the device's journal has lost it."""
    down, up = topics.down(agent.device_id, "execution"), topics.up(agent.device_id, "execution")
    execution_id = ask(office, agent.device_id)
    wait_for(lambda: execution(office, execution_id).state == "succeeded")
    offer = holder.hears(down, execution_id, '"kind":"offer"')
    cancel = envelope.seal(Cancel(execution_id=execution_id), topic=down, key=office.keys.signing_key)
    holder.say(down, cancel)
    reports = len(holder.all(up, execution_id))
    for payload in (offer, cancel, offer, cancel, offer):
        holder.say(down, payload)
    agent.logs(execution_id, "offer.replayed")
    answers(office, agent.device_id)
    assert agent.log().count("offer.replayed") == 3
    assert len(holder.all(up, execution_id)) == reports


def test_offer_when_signed_for_another_device_then_is_not_done(
    office: Office, agent: AgentProcess, holder: BrokerHolder
) -> None:
    """The attack: the broker hands one device's order to another."""
    offer = envelope.seal(
        offer_of("meant-for-another", 9),
        topic=topics.down("d-aaaaaaaaaaaaaaaa", "execution"),
        key=office.keys.signing_key,
    )
    holder.say(topics.down(agent.device_id, "execution"), offer)
    agent.logs("signature.invalid")
    answers(office, agent.device_id)
    assert holder.all(topics.up(agent.device_id, "execution"), "meant-for-another") == []


def test_rolled_back_desired_when_an_older_one_is_retained_then_the_newer_stays(
    office: Office, agent: AgentProcess, holder: BrokerHolder, opened: ExitStack
) -> None:
    """The attack: the broker gives out an old desired document, signed as it is, to bring an old model back."""
    topic, presence = topics.down(agent.device_id, "desired"), topics.up(agent.device_id, "presence")
    old = holder.hears(topic, '"version":0')
    with office.database.transaction() as session:
        devices.change_desired(session, agent.device_id, lambda desired: desired)
    wait_for(lambda: device_row(office, agent.device_id).reported.get("version") == 1)
    holder.say(topic, old, retain=True)
    answers(office, agent.device_id)
    before = device_row(office, agent.device_id).session
    agent.close()
    opened.callback(AgentProcess(agent.state).close)  # it finds the old one retained
    wait_for(lambda: device_row(office, agent.device_id).session > before)
    answers(office, agent.device_id)
    newest = holder.all(presence, '"kind":"birth"')[-1]
    assert json.loads(body_of(newest))["desired_version"] == 1


def forged(kind: str, device_id: str) -> tuple[str, Any]:
    return {
        "desired": (topics.down(device_id, "desired"), Desired(epoch=9, version=9)),
        "offer": (topics.down(device_id, "execution"), offer_of("forged", 9)),
        "cancel": (topics.down(device_id, "execution"), Cancel(execution_id="forged")),
        "state": (topics.CONTROLLER_STATE, ControllerState(epoch=9, incarnation="forged", at="2050-01-01")),
        "refusal": (
            topics.down(device_id, "reply"),
            Refusal(message_id="", code="device.suspended", message="forged"),
        ),
    }[kind]


def test_forged_controller_when_it_has_not_the_key_then_is_not_obeyed(
    office: Office, agent: AgentProcess, holder: BrokerHolder
) -> None:
    """The attack: the broker plays the controller: unsigned, with a key of its own, or claiming the controller's."""
    session = device_row(office, agent.device_id).session
    claimed = signing.raw_public_key(office.keys.signing_key.public_key())
    for kind in ("desired", "offer", "cancel", "state", "refusal"):
        topic, message = forged(kind, agent.device_id)
        holder.say(topic, unsigned(message, topic))
        holder.say(topic, envelope.seal(message, topic=topic, key=Ed25519PrivateKey.generate()))
        holder.say(topic, claiming(message, topic, claimed=claimed))
    answers(office, agent.device_id)
    log = agent.log()
    codes = ("signature.missing", "signature.unknown_key", "signature.invalid")
    assert {code: log.count(f"({code})") for code in codes} == dict.fromkeys(codes, 5)
    assert device_row(office, agent.device_id).session == session  # it was never made to connect again
    assert agent.status()["waiting"] == ""
    assert [one["execution_id"] for one in agent.status()["executions"]] == []


def test_nested_message_when_it_comes_down_then_the_agent_goes_on(
    office: Office, agent: AgentProcess, holder: BrokerHolder
) -> None:
    """The attack: the broker retains what no parser survives, so that the agent never starts again."""
    holder.say(topics.down(agent.device_id, "desired"), b'{"x":' + b"[" * 100_000)
    agent.logs("message.malformed")
    answers(office, agent.device_id)


@pytest.fixture
def without_controller(broker: BrokerAt) -> Iterator[Office]:
    office = Office(broker)
    yield office
    office.close()


def test_freeze_when_the_broker_keeps_newer_words_back_then_status_says_so(
    without_controller: Office, broker: BrokerAt, holder: BrokerHolder, tmp_path: Path, opened: ExitStack
) -> None:
    """The attack: the broker lets the device hear old words of the controller only, and none of the newer ones."""
    office = without_controller

    def word(days: int) -> bytes:
        at = (utc_now() - timedelta(days=days)).isoformat()
        state = ControllerState(epoch=1, incarnation=f"{days} days old", at=at)
        return envelope.seal(state, topic=topics.CONTROLLER_STATE, key=office.keys.signing_key)

    holder.say(topics.CONTROLLER_STATE, word(2), retain=True)
    agent = AgentProcess.enrolled(office, tmp_path / "agent")
    opened.callback(agent.close)
    wait_for(lambda: "stale_controller" in agent.status()["last_error"])
    newest = agent.status()["last_error"]
    holder.say(topics.CONTROLLER_STATE, word(9), retain=True)
    holder.say(topics.down(agent.device_id, "desired"), b"what shows that the older word was heard")
    agent.logs("message.malformed")
    assert agent.status()["last_error"] == newest
    assert "connected, but stale_controller" in agent.screen()
    holder.say(topics.CONTROLLER_STATE, word(0))
    wait_for(lambda: agent.status()["last_error"] == "")


@pytest.fixture
def copy_of(opened: ExitStack) -> Callable[[Path, Path], AgentProcess]:
    def copy(state: Path, to: Path) -> AgentProcess:
        shutil.copytree(state, to, ignore=shutil.ignore_patterns("lock", "log", "live.json"))
        agent = AgentProcess(to)
        opened.callback(agent.close)
        return agent

    return copy


class TestClone:
    """On both brokers: the defence is the controller's."""

    @pytest.fixture(params=["iotcore", "mosquitto"])
    def broker(self, request: pytest.FixtureRequest) -> BrokerAt:
        found: BrokerAt = request.getfixturevalue(request.param)
        return found

    def test_clone_when_a_state_folder_was_copied_then_both_are_out(
        self, office: Office, tmp_path: Path, opened: ExitStack, copy_of: Callable[[Path, Path], AgentProcess]
    ) -> None:
        """The attack: somebody copies a device's disk, and runs it beside the device."""
        first = AgentProcess.enrolled(office, tmp_path / "agent")
        opened.callback(first.close)
        wait_for(lambda: device_row(office, first.device_id).online)
        second = copy_of(first.state, tmp_path / "copy")
        wait_for(lambda: device_row(office, first.device_id).state == "suspended")
        row = device_row(office, first.device_id)
        assert (row.state_reason, row.online) == ("cloned", False)
        execution_id = ask(office, first.device_id)
        wait_for(lambda: "suspended" in first.status()["waiting"] and "suspended" in second.status()["waiting"], 60)
        assert (first.status()["connected"], second.status()["connected"]) == (False, False)
        assert execution(office, execution_id).waiting_for["code"] == "device_suspended"
