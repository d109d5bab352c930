"""The devices' door on MQTT, on both brokers: a device played by the wire code alone, good and bad."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from controller.artifacts.tables import ArtifactRow, ModelRow, VariantRow, VersionRow
from controller.db import utc_now
from controller.devices.tables import DeviceRow, ReceiptRow
from controller.errors import Invalid
from controller.executions.tables import ExecutionRow
from controller.observe import RefusalRow
from controller.rollouts import service as rollouts
from controller.rollouts.tables import RolloutRow
from shoal.schemas.rollouts import RolloutRequest, RolloutTarget
from shoal.wire import envelope, topics
from shoal.wire.devices import FactsReport, Refusal, Will
from shoal.wire.rollouts import Desired, GoldenResult, Receipt
from tests.attacker import unsigned
from tests.device import Device
from tests.registry import signature_row
from tests.rig import BrokerAt, Office, wait_for

SHA = {name: digit * 64 for name, digit in (("program", "a"), ("weights", "b"), ("fp32", "c"), ("golden", "d"))}


@pytest.fixture
def device(new_device: Callable[[], Device]) -> Device:
    return new_device()


def row_of(office: Office, device: Device) -> DeviceRow:
    with office.database.reading() as session:
        return session.get_one(DeviceRow, device.id)


def refusals(office: Office) -> dict[tuple[str, str], int]:
    with office.database.reading() as session:
        return {(row.device_id, row.code): row.count for row in session.scalars(select(RefusalRow))}


def facts_report(device: Device, sequence: int = 2) -> FactsReport:
    return FactsReport(id=f"1-{sequence}", session=1, sequence=sequence, facts=device.facts)


def test_device_when_born_then_is_online_until_its_own_will(office: Office, device: Device) -> None:
    device.birth(session=2)
    wait_for(lambda: row_of(office, device).online)
    assert device.hears(Desired) == Desired(epoch=1, version=0)
    device.say("presence", Will(session=1))
    device.say("presence", Will(session=2))
    wait_for(lambda: not row_of(office, device).online)


def test_facts_when_signed_then_are_kept_and_older_ones_not(office: Office, device: Device) -> None:
    device.say("facts", facts_report(device, sequence=5))
    device.say("facts", facts_report(device, sequence=4))
    wait_for(lambda: row_of(office, device).facts_sequence)
    device.birth()
    wait_for(lambda: row_of(office, device).online)
    assert row_of(office, device).facts_sequence == 5


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x00garbage", "message.malformed"),
        (b'{"v":0,"kind":"order","body":"{}"}', "message.unknown_kind"),
        (b'{"v":0,"kind":"birth","body":"' + b"x" * 20_000 + b'"}', "message.too_large"),
        (b'{"v":0,"kind":"facts","body":"{\\"id\\":\\"1-9\\"}"}', "signature.missing"),
    ],
)
def test_message_when_bad_then_is_refused_counted_and_changes_nothing(
    office: Office, device: Device, payload: bytes, code: str
) -> None:
    before = row_of(office, device).facts
    device.shout(topics.up(device.id, "facts"), payload)
    wait_for(lambda: refusals(office) == {(device.id, code): 1})
    assert row_of(office, device).facts == before


def test_message_when_signed_by_another_device_then_is_refused_and_its_sender_told(
    office: Office, device: Device
) -> None:
    device.birth()
    device.say("facts", facts_report(device), key=Ed25519PrivateKey.generate())
    refusal = device.hears(Refusal)
    assert (refusal.message_id, refusal.code) == ("1-2", "signature.unknown_key")
    assert row_of(office, device).facts_sequence == 0


def test_message_when_on_the_wrong_channel_then_is_refused(office: Office, device: Device) -> None:
    payload = envelope.seal(facts_report(device), topic=topics.up(device.id, "event"), key=device.key)
    device.shout(topics.up(device.id, "event"), payload)
    wait_for(lambda: refusals(office) == {(device.id, "message.wrong_channel"): 1})


def test_device_when_it_publishes_for_another_then_nothing_of_the_other_changes(
    office: Office, new_device: Callable[[], Device], broker: BrokerAt
) -> None:
    """Mosquitto's access list drops it; the embedded broker has none, and there the signature refuses it."""
    victim, rogue = new_device(), new_device()
    rogue.say("facts", facts_report(rogue), topic=topics.up(victim.id, "facts"))
    rogue.birth()
    wait_for(lambda: row_of(office, rogue).online)
    assert row_of(office, victim).facts_sequence == 0
    expected = {} if broker.has_access_list else {(victim.id, "signature.unknown_key"): 1}
    assert refusals(office) == expected


def test_sender_when_unknown_then_is_counted(office: Office, device: Device, broker: BrokerAt) -> None:
    device.shout(topics.up("d-aaaaaaaaaaaaaaaa", "facts"), b"{}")
    device.birth()
    wait_for(lambda: row_of(office, device).online)
    assert refusals(office) == ({} if broker.has_access_list else {("", "device.unknown"): 1})


def start_rollout(office: Office, device: Device, *, runtime: str = "onnxruntime") -> str:
    with office.database.transaction() as session:
        for sha256 in SHA.values():
            session.add(ArtifactRow(sha256=sha256, size_bytes=10, created_at=utc_now(), created_by="t"))
        named = {"created_at": utc_now(), "created_by": "t"}
        session.add(
            ModelRow(
                name="digits",
                task="classification",
                signature=signature_row([1, 8, 8], 1),
                class_labels=["0"],
                **named,
            )
        )
        session.flush()
        version = VersionRow(
            model="digits",
            number=1,
            source="uploaded",
            train_program=SHA["program"],
            eval_program=SHA["program"],
            weights=SHA["weights"],
            lineage={},
            **named,
        )
        session.add(version)
        session.flush()
        session.add(
            VariantRow(
                version_id=version.id,
                recipe="fp32",
                runtime=runtime,
                sha256=SHA["fp32"],
                golden_sha256=SHA["golden"],
                size_bytes=10,
                accuracy=0.9,
                agreement=1.0,
                latency_p50_ms=0.1,
                samples=100,
                job_id="j",
                created_at=utc_now(),
            )
        )
        session.flush()
        request = RolloutRequest(model="digits", version=1, selector=f"id == {device.id}")
        return rollouts.create(session, request, "test").id


def state_of(office: Office, rollout_id: str) -> str:
    with office.database.reading() as session:
        return session.get_one(RolloutRow, rollout_id).state


def target_of(office: Office, rollout_id: str) -> RolloutTarget:
    with office.database.reading() as session:
        (target,) = rollouts.targets(session, session.get_one(RolloutRow, rollout_id))
    return target


def receipt_for(desired: Desired, *, sha256: str = SHA["fp32"], passed: bool = True) -> Receipt:
    wanted = desired.variants[0]
    return Receipt(
        id="1-3",
        session=1,
        sequence=3,
        boot_id="b",
        model=wanted.model,
        version=wanted.version,
        variant_id=wanted.variant_id,
        slot="a",
        runtime=wanted.runtime,
        runtime_version="1",
        sha256=sha256,
        golden=GoldenResult(samples=32, agreement=1.0 if passed else 0.4, max_abs_error=0.0, passed=passed),
        latency_p50_ms=0.1,
        execution_id=wanted.execution_id,
    )


def next_version(device: Device) -> Desired:
    while (desired := device.hears(Desired)) and not desired.variants:
        pass
    return desired


def test_rollout_when_proven_by_a_signed_receipt_then_succeeds(office: Office, device: Device) -> None:
    device.birth()
    wait_for(lambda: row_of(office, device).online)
    rollout_id = start_rollout(office, device)
    receipt = receipt_for(next_version(device))
    for _ in range(2):  # a broker may double it
        device.say("reported", receipt)
    wait_for(lambda: state_of(office, rollout_id) == "succeeded")
    with office.database.reading() as session:
        assert len(session.scalars(select(ReceiptRow)).all()) == 1
        assert rollouts.summary(session, session.get_one(RolloutRow, rollout_id)).succeeded == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [({"sha256": "e" * 64}, "receipt.digest_mismatch"), ({"passed": False}, "receipt.golden_failed")],
)
def test_forged_receipt_when_it_proves_something_else_then_the_rollout_pauses(
    office: Office, device: Device, fault: dict[str, Any], code: str
) -> None:
    device.birth()
    wait_for(lambda: row_of(office, device).online)
    rollout_id = start_rollout(office, device)
    device.say("reported", receipt_for(next_version(device), **fault))
    wait_for(lambda: state_of(office, rollout_id) == "paused")
    target = target_of(office, rollout_id)
    assert (target.state, target.code) == ("failed", code)


def test_forged_receipt_when_not_signed_by_its_device_then_is_not_believed(office: Office, device: Device) -> None:
    """The attack: who can publish on a device's topic proves, in its name, that a model runs."""
    device.birth()
    wait_for(lambda: row_of(office, device).online)
    rollout_id = start_rollout(office, device)
    receipt = receipt_for(next_version(device))
    device.say("reported", receipt, key=Ed25519PrivateKey.generate())
    device.shout(topics.up(device.id, "reported"), unsigned(receipt, topics.up(device.id, "reported")))
    counted = {(device.id, "signature.unknown_key"): 1, (device.id, "signature.missing"): 1}
    wait_for(lambda: refusals(office) == counted)
    assert state_of(office, rollout_id) == "running"


def test_forged_receipt_when_for_another_devices_step_then_is_refused(
    office: Office, new_device: Callable[[], Device]
) -> None:
    """The attack: an enrolled device proves, by its own key, a step of another one."""
    victim, rogue = new_device(), new_device()
    victim.birth()
    wait_for(lambda: row_of(office, victim).online)
    rollout_id = start_rollout(office, victim)
    rogue.say("reported", receipt_for(next_version(victim)))
    wait_for(lambda: refusals(office) == {(rogue.id, "execution.not_found"): 1})
    assert state_of(office, rollout_id) == "running"
    with office.database.reading() as session:
        assert session.scalars(select(ReceiptRow)).all() == []


def test_rollout_when_device_was_away_then_goes_on_at_its_birth(office: Office, device: Device) -> None:
    rollout_id = start_rollout(office, device)
    wait_for(lambda: target_of(office, rollout_id).waiting_for.get("code") == "device_offline")
    device.birth()
    device.say("reported", receipt_for(next_version(device)))
    wait_for(lambda: state_of(office, rollout_id) == "succeeded")


def test_rollout_when_no_variant_fits_the_device_then_is_refused_by_name_and_changes_nothing(
    office: Office, device: Device
) -> None:
    with pytest.raises(Invalid) as caught:
        start_rollout(office, device, runtime="openvino")
    assert caught.value.code == "rollout.no_fitting_variant"
    assert device.id in caught.value.message
    with office.database.reading() as session:
        assert session.scalars(select(RolloutRow)).all() == []
        assert session.scalars(select(ExecutionRow)).all() == []
