"""Learning alone over MQTT: a policy, evidence, an offer, a result, and what the gate makes of it."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import select

from controller.artifacts import service as artifacts
from controller.artifacts.tables import VersionRow
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound, ShoalError
from controller.events import EventRow
from controller.incremental import service
from controller.incremental.tables import IncrementalUpdateRow, PolicyRow
from controller.jobs.tables import JobRow
from controller.observe import RefusalRow
from shoal.schemas.incremental import LearningSettings, PolicyRequest
from shoal.wire.devices import Refusal
from shoal.wire.executions import Offer, ReportState
from shoal.wire.incremental import Evidence, IncrementalUpdateResult, IncrementalUpdateSpec
from shoal.wire.rollouts import Desired, Reported, SlotReport, SlotState
from shoal.wire.tensors import Tensors, encode_tensors
from tests.device import Device
from tests.learning import BASE, Learner, register_model, train, upload
from tests.rig import Office, wait_for

BETTER = {"old_before": 0.96, "old_after": 0.95, "new_before": 0.1, "new_after": 0.9}


@pytest.fixture
def learner(office: Office, new_device: Callable[..., Device]) -> Learner:
    """A device that serves version 1 of `tiny`."""
    with office.database.transaction() as session:
        register_model(session, office.blobs)
    learner = Learner(office, new_device(can_train=True), 8)
    learner.device.birth()
    slot = SlotReport(
        model="tiny",
        slot="a",
        state=SlotState.SERVING,
        version=1,
        variant_id="v",
        runtime="onnxruntime",
        sha256="a" * 64,
    )
    learner.device.say("reported", Reported(id="1-0", session=1, sequence=1, epoch=1, version=0, slots=[slot]))
    wait_for(lambda: serves(office, learner.device))
    return learner


def serves(office: Office, device: Device) -> bool:
    with office.database.reading() as session:
        row = session.get_one(DeviceRow, device.id)
        return row.online and bool(row.reported)


def request(device: Device, **others: Any) -> PolicyRequest:
    return PolicyRequest(
        model="tiny",
        selector=f"id == {device.id}",
        replay_dataset="tiny-eval",
        retention_dataset="tiny-eval",
        learning=LearningSettings(dataset="local", new_samples=50),
        **others,
    )


def watch(office: Office, learner: Learner) -> str:
    with office.database.transaction() as session:
        policy_id = service.create_policy(session, request(learner.device), "test").id
    while not (desired := learner.device.hears(Desired)).monitors:
        pass
    assert [(monitor.policy_id, monitor.model) for monitor in desired.monitors] == [(policy_id, "tiny")]
    return policy_id


def evidence(policy_id: str, sequence: int = 100, **others: Any) -> Evidence:
    plain: dict[str, Any] = {
        "model": "tiny",
        "version": 1,
        "samples": 460,
        "population_stability_index": 0.4,
        "drift_detected": True,
        "noticed_at": "2026-01-01T00:00:00+00:00",
    }
    return Evidence(id=f"1-{sequence}", session=1, sequence=sequence, policy_id=policy_id, **(plain | others))


def learned(office: Office, learner: Learner, offer: Offer, tensors: Tensors, **accuracies: float) -> None:
    """Give what the device learned."""
    data = encode_tensors(tensors)
    with office.database.transaction() as session:
        sha256 = upload(session, office.blobs, data, learner.device.id)
    result = IncrementalUpdateResult(
        update=sha256, size_bytes=len(data), samples=50, duration_s=1.0, **(BETTER | accuracies)
    )
    report = learner.report(offer, ReportState.SUCCEEDED, msgspec.to_builtins(result))
    learner.device.say("execution", report)


def updates(office: Office) -> list[IncrementalUpdateRow]:
    with office.database.reading() as session:
        return list(session.scalars(select(IncrementalUpdateRow)))


def ended(office: Office) -> IncrementalUpdateRow:
    return wait_for(lambda: next((row for row in updates(office) if row.finished_at is not None), None))


def happened(office: Office, name: str) -> list[EventRow]:
    with office.database.reading() as session:
        return list(session.scalars(select(EventRow).where(EventRow.name == name)))


def test_evidence_when_the_model_drifted_then_what_is_learned_is_kept_as_a_version(
    office: Office, learner: Learner
) -> None:
    policy_id = watch(office, learner)
    learner.device.say("event", evidence(policy_id))
    offer = learner.device.hears(Offer)
    spec = msgspec.json.decode(offer.spec, type=IncrementalUpdateSpec)
    assert (spec.policy_id, spec.version, spec.since) == (policy_id, 1, "2026-01-01T00:00:00+00:00")
    assert (spec.new_samples, spec.evaluation_samples) == (50, 10)
    learned(office, learner, offer, train(BASE, 1))
    row = ended(office)
    assert (row.state, row.message, row.execution_id) == (
        "kept",
        "New 10.0% -> 90.0%, old 96.0% -> 95.0%.",
        offer.execution_id,
    )
    assert (row.evidence["samples"], row.result["new_after"]) == (460, 0.9)
    with office.database.reading() as session:
        version = artifacts.get_version(session, "tiny", 2)
        (job,) = session.scalars(select(JobRow))
    assert (version.id, version.source, version.lineage["update"]) == (row.result_version_id, "incremental", row.id)
    assert version.parent_id == row.base_version_id
    assert (job.kind, job.subject, job.spec["weights"]) == ("evaluate", "tiny/2", version.weights)


@pytest.mark.parametrize("accuracies", [{"old_after": 0.8}, {"new_after": 0.1}])
def test_result_when_the_gate_rejects_it_then_makes_no_version(
    office: Office, learner: Learner, accuracies: dict[str, float]
) -> None:
    learner.device.say("event", evidence(watch(office, learner)))
    learned(office, learner, learner.device.hears(Offer), train(BASE, 1), **accuracies)
    assert (ended(office).state, ended(office).result_version_id) == ("rejected", None)
    with office.database.reading() as session:
        assert len(session.scalars(select(VersionRow)).all()) == 1


def test_result_when_its_weights_are_bad_then_the_update_fails_by_name(office: Office, learner: Learner) -> None:
    learner.device.say("event", evidence(watch(office, learner)))
    bad = {**train(BASE, 1), "b": np.array([1, np.inf, 1], np.float32)}
    learned(office, learner, learner.device.hears(Offer), bad)
    row = ended(office)
    assert (row.state, row.message) == ("failed", "b has NaN or infinite values. [update.not_finite]")
    with office.database.reading() as session:
        assert session.get_one(RefusalRow, (learner.device.id, "update.not_finite")).count == 1


def test_device_when_it_cannot_learn_then_the_update_fails_by_the_name_it_gives(
    office: Office, learner: Learner
) -> None:
    learner.device.say("event", evidence(watch(office, learner)))
    offer = learner.device.hears(Offer)
    learner.device.say("execution", learner.report(offer, ReportState.FAILED, code="training.crashed"))
    assert (ended(office).state, ended(office).message) == ("failed", "[training.crashed]")


def test_evidence_when_doubled_or_repeated_while_learning_then_starts_one_update(
    office: Office, learner: Learner
) -> None:
    policy_id = watch(office, learner)
    for sequence in (100, 100, 99, 101):
        learner.device.say("event", evidence(policy_id, sequence))
    wait_for(lambda: happened(office, "evidence.passed_over"))
    (passed_over,) = happened(office, "evidence.passed_over")
    assert passed_over.data == {"policy": policy_id, "reason": "already_learning"}
    assert len(updates(office)) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"policy_id": "nothing"}, "incremental_policy.not_found"),
        ({"model": "other"}, "evidence.wrong_model"),
        ({"noticed_at": "yesterday"}, "evidence.malformed"),
    ],
)
def test_evidence_when_it_does_not_fit_its_policy_then_is_refused_by_name(
    office: Office, learner: Learner, change: dict[str, str], code: str
) -> None:
    found = msgspec.structs.replace(evidence(watch(office, learner)), **change)
    learner.device.say("event", found)
    refusal = learner.device.hears(Refusal)
    assert (refusal.message_id, refusal.code) == ("1-100", code)
    assert updates(office) == []


def test_evidence_when_of_a_device_outside_of_the_policy_then_is_refused(
    office: Office, learner: Learner, new_device: Callable[..., Device]
) -> None:
    policy_id = watch(office, learner)
    outsider = new_device(can_train=True)
    outsider.birth()
    outsider.say("event", evidence(policy_id))
    assert outsider.hears(Refusal).code == "evidence.not_monitored"
    assert updates(office) == []


def test_policy_when_another_replaces_its_monitors_then_is_inactive_and_its_evidence_refused(
    office: Office, learner: Learner
) -> None:
    first = watch(office, learner)
    second = watch(office, learner)
    with office.database.reading() as session:
        assert [session.get_one(PolicyRow, one).is_active for one in (first, second)] == [False, True]
    learner.device.say("event", evidence(first))
    assert learner.device.hears(Refusal).code == "evidence.not_monitored"


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"model": "none"}, NotFound, "model.not_found"),
        ({"replay_dataset": "none"}, NotFound, "dataset.not_found"),
        ({"retention_dataset": "other-shape"}, Invalid, "dataset.shape_mismatch"),
        ({"selector": "flapping"}, Invalid, "incremental_policy.no_devices"),
        ({"selector": 'labels.site == "nowhere"'}, Invalid, "selector.unknown_label"),
        (
            {"learning": LearningSettings(dataset="local", new_samples=2_000_000)},
            Invalid,
            "incremental_policy.too_many_samples",
        ),
    ],
)
def test_create_policy_when_something_does_not_fit_then_is_refused_by_name(
    office: Office, learner: Learner, change: dict[str, Any], error: type[ShoalError], code: str
) -> None:
    wanted = request(learner.device).model_copy(update=change)
    with pytest.raises(error) as caught, office.database.transaction() as session:
        service.create_policy(session, wanted, "test")
    assert caught.value.code == code
