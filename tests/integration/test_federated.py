"""Federated runs: over MQTT with devices played by the wire code, and as rows on both databases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from controller.artifacts import service as artifacts
from controller.artifacts.tables import VersionRow
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.devices.tables import DeviceRow
from controller.errors import Conflict, Invalid, NotFound, ShoalError
from controller.executions.tables import ExecutionRow
from controller.federated import service, updates
from controller.federated.rounds import OFFLINE_GRACE
from controller.federated.tables import RunRow, UpdateRow
from controller.gateway import executions as door
from controller.gateway.access import Context
from controller.jobs.tables import JobRow
from controller.observe import RefusalRow
from shoal.schemas.federated import FederatedRun
from shoal.wire.devices import Will
from shoal.wire.executions import Cancel, ExecutionReport, Offer, ReportState
from shoal.wire.tensors import Tensors, decode_tensors, encode_tensors
from tests.databases import make_tables
from tests.device import Device
from tests.learning import BASE, Learner, mean_of, register_model, run_request, train, upload
from tests.rig import BrokerAt, Office, wait_for
from tests.rows import add_device

# ---------------------------------------------------------------- over MQTT


@pytest.fixture
def learners(office: Office, new_device: Callable[..., Device]) -> list[Learner]:
    """Three devices that are online; their example counts add up to a power of two, so that the mean is exact."""
    found = [Learner(office, new_device(can_train=True), examples) for examples in (8, 16, 8)]
    for learner in found:
        learner.device.birth()
    wait_for(lambda: len(online(office)) == 3)
    return found


def online(office: Office) -> list[str]:
    with office.database.reading() as session:
        return list(session.scalars(select(DeviceRow.id).where(DeviceRow.online.is_(True))))


def start_run(office: Office, **wanted: Any) -> str:
    with office.database.transaction() as session:
        if session.scalar(select(VersionRow.id)) is None:
            register_model(session, office.blobs)
        return service.create(session, office.blobs, run_request(**wanted), "test").id


def shown(office: Office, run_id: str) -> FederatedRun:
    with office.database.reading() as session:
        return service.summary(session, session.get_one(RunRow, run_id))


def await_end(office: Office, run_id: str) -> FederatedRun:
    return wait_for(lambda: ((run := shown(office, run_id)).state != "running" and run) or None)


def weights_of(office: Office, run: FederatedRun) -> Tensors:
    assert run.result_version is not None
    with office.database.reading() as session:
        version = artifacts.get_version(session, run.model, run.result_version)
    return decode_tensors(office.blobs.read(version.weights))


def test_run_when_all_devices_answer_then_is_bitwise_numpys_weighted_mean_and_a_version(
    office: Office, learners: list[Learner]
) -> None:
    run_id = start_run(office, rounds=3)
    for number in (1, 2, 3):
        offers = [learner.answer_next() for learner in learners]
        specs = [learner.spec(offer) for learner, offer in zip(learners, offers, strict=True)]
        assert {(spec.round, spec.is_last_round) for spec in specs} == {(number, number == 3)}
        assert len({spec.seed for spec in specs}) == 3
    run = await_end(office, run_id)
    assert (run.state, run.result_version, run.rounds_closed) == ("succeeded", 2, 3)
    assert [(entry.state, entry.updates, entry.examples) for entry in run.rounds] == [("closed", 3, 32)] * 3
    assert encode_tensors(weights_of(office, run)) == encode_tensors(mean_of(learners, 3))
    with office.database.reading() as session:
        version = artifacts.get_version(session, "tiny", 2)
        jobs = session.scalars(select(JobRow).order_by(JobRow.id)).all()
    assert (version.source, version.lineage["run"], version.lineage["updates"]) == ("federated", run_id, 9)
    assert version.lineage["devices"] == sorted(learner.device.id for learner in learners)
    assert [job.subject for job in jobs] == ["tiny/1", *(f"tiny/1 round {number}" for number in (1, 2, 3))]


def test_rounds_when_no_tick_comes_then_are_closed_by_the_commits_that_complete_them(
    iotcore: BrokerAt, tmp_path: Path
) -> None:
    office = Office(iotcore)
    office.settings = replace(office.settings, tick_interval_s=3600)
    office.start()
    learner = Learner(office, Device(office, iotcore, tmp_path, can_train=True), 8)
    learner.device.birth()
    wait_for(lambda: online(office))
    run_id = start_run(office, rounds=3)
    for _ in range(3):
        learner.answer_next()
    assert await_end(office, run_id).state == "succeeded"
    learner.device.close()
    office.close()


def test_report_when_doubled_then_is_counted_once(office: Office, learners: list[Learner]) -> None:
    run_id = start_run(office, rounds=1)
    for learner in learners:
        report = learner.answer(learner.device.hears(Offer))
        learner.device.say("execution", report)
    run = await_end(office, run_id)
    assert (run.rounds[0].updates, run.rounds[0].examples) == (3, 32)


def test_report_when_of_another_device_then_is_refused_and_the_round_goes_on(
    office: Office, learners: list[Learner]
) -> None:
    run_id = start_run(office, rounds=1)
    offers = [learner.device.hears(Offer) for learner in learners]
    learners[1].answer(offers[0])
    for learner, offer in zip(learners, offers, strict=True):
        learner.answer(offer)
    assert await_end(office, run_id).rounds[0].updates == 3
    with office.database.reading() as session:
        assert session.get(RefusalRow, (learners[1].device.id, "execution.not_found")) is not None


def test_run_when_the_controller_goes_in_mid_round_then_ends_bitwise_as_without(
    broker: BrokerAt, office: Office, learners: list[Learner]
) -> None:
    start_run(office, rounds=2)
    for _ in (1, 2):
        for learner in learners:
            learner.answer_next()
    wait_for(lambda: len(versions(office)) == 2)
    run_id = start_run(office, rounds=2)
    learners[0].answer_next()
    wait_for(lambda: shown(office, run_id).rounds[0].updates == 1)
    office.close()
    learners[1].answer_next()  # said while nobody listens: the broker keeps it
    again = Office(broker)
    again.start()
    learners[2].answer_next()
    for learner in reversed(learners):
        learner.answer_next()
    run = await_end(again, run_id)
    first, second = versions(again)[1:]
    again.close()
    assert run.state == "succeeded"
    assert first.weights == second.weights


def versions(office: Office) -> list[VersionRow]:
    with office.database.reading() as session:
        return list(session.scalars(select(VersionRow).order_by(VersionRow.number)))


def test_round_when_a_device_is_lost_then_closes_without_it_and_the_next_has_the_others(
    office: Office, learners: list[Learner]
) -> None:
    run_id = start_run(office, rounds=2)
    lost = learners[2].device
    lost.hears(Offer)
    lost.say("presence", Will(session=1))
    for learner in learners[:2]:
        learner.answer_next()
    wait_for(lambda: shown(office, run_id).rounds[0].updates == 2 and len(online(office)) == 2)
    assert shown(office, run_id).rounds[0].state == "open"
    with office.database.transaction() as session:
        session.get_one(DeviceRow, lost.id).last_seen_at = utc_now() - OFFLINE_GRACE
    for learner in learners[:2]:
        learner.answer_next()
    run = await_end(office, run_id)
    assert [(entry.cohort, entry.updates, entry.message) for entry in run.rounds] == [
        (3, 2, "No update: 1 canceled"),
        (2, 2, ""),
    ]


def test_round_when_its_time_is_over_then_closes_with_what_it_has(office: Office, learners: list[Learner]) -> None:
    run_id = start_run(office, rounds=1, round_timeout_s=2, min_updates=2)
    for learner in learners[:2]:
        learner.answer_next()
    run = await_end(office, run_id)
    assert (run.state, run.rounds[0].updates) == ("succeeded", 2)
    learners[2].device.hears(Cancel)


def test_run_when_too_few_answer_in_time_then_fails_by_name(office: Office, learners: list[Learner]) -> None:
    run_id = start_run(office, rounds=1, round_timeout_s=2, min_updates=2)
    learners[0].answer_next()
    offer = learners[1].device.hears(Offer)
    learners[1].device.say("execution", learners[1].report(offer, ReportState.REJECTED, code="dataset.not_found"))
    run = await_end(office, run_id)
    assert (run.state, run.rounds[0].state, run.result_version) == ("failed", "failed", None)
    assert run.message == (
        "1 of 3 devices gave an update; the round needs 2. No update: 1 canceled, 1 dataset.not_found"
    )


def test_run_when_cancelled_then_devices_are_told_to_stop(office: Office, learners: list[Learner]) -> None:
    run_id = start_run(office, rounds=3)
    learners[0].answer_next()
    wait_for(lambda: shown(office, run_id).rounds[0].updates == 1)
    with office.database.transaction() as session:
        service.cancel(session, session.get_one(RunRow, run_id), utc_now())
    for learner in learners[1:]:
        learner.device.hears(Cancel)
    run = shown(office, run_id)
    assert (run.state, run.rounds[0].state, run.result_version) == ("canceled", "canceled", None)
    with pytest.raises(Conflict), office.database.transaction() as session:
        service.cancel(session, session.get_one(RunRow, run_id), utc_now())


# ---------------------------------------------------------------- as rows, on both databases


@dataclass(frozen=True)
class Registry:
    """A database with the model `tiny` and three devices that are online, and the blobs."""

    database: Database
    blobs: BlobStore

    def start(self, **wanted: Any) -> str:
        with self.database.transaction() as session:
            return service.create(session, self.blobs, run_request(**wanted), "test").id

    def open_executions(self) -> list[ExecutionRow]:
        with self.database.reading() as session:
            query = select(ExecutionRow).where(ExecutionRow.finished_at.is_(None)).order_by(ExecutionRow.id)
            return list(session.scalars(query))

    def give(self, execution: ExecutionRow, tensors: Tensors | bytes, **others: Any) -> ExecutionRow:
        """Upload and report; gives the execution as it stands then."""
        data = tensors if isinstance(tensors, bytes) else encode_tensors(tensors)
        with self.database.transaction() as session:
            sha256 = upload(session, self.blobs, data, execution.device_id)
        result = {"update": sha256, "size_bytes": len(data), "examples": 8, "loss": 0.5, "duration_s": 0.1, **others}
        with self.database.transaction() as session:
            context = Context(
                session=session,
                device=session.get_one(DeviceRow, execution.device_id),
                blobs=self.blobs,
                envelope=b"",
                now=utc_now(),
            )
            report = ExecutionReport(
                id="1-2",
                session=1,
                sequence=2,
                execution_id=execution.id,
                attempt=1,
                state=ReportState.SUCCEEDED,
                result=result,
            )
            door.on_report(context, report)
            return session.get_one(ExecutionRow, execution.id)

    def advance(self) -> None:
        with self.database.reading() as session:
            closing = service.find_closing(session, utc_now())
        summed = [updates.sum_up(self.blobs, one) for one in closing]
        with self.database.transaction() as session:
            service.advance(session, summed, utc_now())

    def shown(self, run_id: str) -> FederatedRun:
        with self.database.reading() as session:
            return service.summary(session, session.get_one(RunRow, run_id))


@pytest.fixture
def registry(empty_database: Database, tmp_path: Path) -> Iterator[Registry]:
    make_tables(empty_database)
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    with empty_database.transaction() as session:
        register_model(session, blobs)
        for letter in "abc":
            add_device(session, f"d-{letter * 16}", facts={"can_train": True}, online=True)
    return Registry(empty_database, blobs)


GOOD = train(BASE, 0)


@pytest.mark.parametrize(
    ("tensors", "others", "code"),
    [
        ({**GOOD, "b": np.array([1, np.nan, 1], np.float32)}, {}, "update.not_finite"),
        ({**GOOD, "b": np.array([1, 2000, 1], np.float32)}, {}, "update.out_of_range"),
        ({**GOOD, "b": np.ones(4, np.float32)}, {}, "update.shape"),
        ({**GOOD, "b": np.ones(3, np.float64)}, {}, "update.dtype"),
        ({"w": GOOD["w"]}, {}, "update.names"),
        (GOOD, {"update": "f" * 64}, "update.missing_artifact"),
        (GOOD, {"examples": 2**27}, "update.bad_examples"),
        (GOOD, {"examples": 0}, "update.malformed"),
        (GOOD, {"loss": None}, "update.malformed"),
        (GOOD, {"loss": 1e300}, "update.malformed"),
        ({**GOOD, "\0" * 5000: GOOD["b"]}, {}, "update.names"),
        (b"no safetensors", {}, "tensors.malformed"),
        (b"\0" * 70_000, {}, "update.too_large"),
    ],
)
def test_update_when_bad_then_is_refused_by_name_and_the_round_goes_on(
    registry: Registry, tensors: Tensors | bytes, others: dict[str, Any], code: str
) -> None:
    run_id = registry.start(rounds=1)
    first, second, third = registry.open_executions()
    refused = registry.give(first, tensors, **others)
    assert (refused.state, refused.code, refused.result) == ("failed", code, {})
    registry.give(second, train(BASE, 1))
    registry.give(third, train(BASE, 2))
    registry.advance()
    run = registry.shown(run_id)
    assert (run.state, run.rounds[0].updates, run.rounds[0].message) == ("succeeded", 2, f"No update: 1 {code}")
    with registry.database.reading() as session:
        refusal = session.get_one(RefusalRow, (first.device_id, code))
        assert refusal.count == 1


def test_round_when_summed_up_but_not_closed_then_is_summed_up_again_and_closed_once(registry: Registry) -> None:
    run_id = registry.start(rounds=2)
    for number, execution in enumerate(registry.open_executions()):
        registry.give(execution, train(BASE, number))
    with registry.database.reading() as session:
        (closing,) = service.find_closing(session, utc_now())
    first = updates.sum_up(registry.blobs, closing)  # what a controller had done when it was killed
    assert updates.sum_up(registry.blobs, closing) == first
    registry.advance()
    with registry.database.transaction() as session:
        service.advance(session, [first], utc_now())
    run = registry.shown(run_id)
    assert [entry.state for entry in run.rounds] == ["closed", "open"]
    assert len(registry.open_executions()) == 3


def test_round_when_an_update_comes_while_it_is_summed_up_then_is_not_closed_without_it(registry: Registry) -> None:
    run_id = registry.start(rounds=1, round_timeout_s=1e-6)
    executions = registry.open_executions()
    registry.give(executions[0], train(BASE, 0))
    with registry.database.reading() as session:
        (closing,) = service.find_closing(session, utc_now() + timedelta(seconds=1))
    registry.give(executions[1], train(BASE, 1))
    with registry.database.transaction() as session:
        service.advance(session, [updates.sum_up(registry.blobs, closing)], utc_now() + timedelta(seconds=1))
    assert registry.shown(run_id).rounds[0].state == "open"
    registry.advance()
    run = registry.shown(run_id)
    assert (run.state, run.rounds[0].updates) == ("succeeded", 2)
    late = registry.give(executions[2], train(BASE, 2))
    assert late.state == "canceled"
    with registry.database.reading() as session:
        assert len(session.scalars(select(UpdateRow)).all()) == 2


def test_round_when_nobody_can_take_part_in_the_next_then_it_waits_for_a_device(registry: Registry) -> None:
    run_id = registry.start(rounds=2)
    set_online(registry, False)
    for number, execution in enumerate(registry.open_executions()):
        registry.give(execution, train(BASE, number))
    registry.advance()
    assert [entry.state for entry in registry.shown(run_id).rounds] == ["closed"]
    set_online(registry, True)
    registry.advance()
    assert [entry.state for entry in registry.shown(run_id).rounds] == ["closed", "open"]


def set_online(registry: Registry, online: bool) -> None:
    with registry.database.transaction() as session:
        for device in session.scalars(select(DeviceRow)):
            device.online = online
            device.last_seen_at = utc_now()


def test_round_when_its_updates_are_gone_then_the_run_fails_by_name(registry: Registry) -> None:
    run_id = registry.start(rounds=1)
    for number, execution in enumerate(registry.open_executions()):
        given = registry.give(execution, train(BASE, number))
    path = registry.blobs.local_path(given.result["update"])
    assert path is not None
    path.unlink()
    registry.advance()
    run = registry.shown(run_id)
    assert (run.state, run.message) == ("failed", f"There is no artifact {given.result['update']}.")


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"model": "none"}, NotFound, "model.not_found"),
        ({"version": 2}, NotFound, "version.not_found"),
        ({"evaluation_dataset": "none"}, NotFound, "dataset.not_found"),
        ({"evaluation_dataset": "other-shape"}, Invalid, "dataset.shape_mismatch"),
        ({"selector": "id == d-none"}, NotFound, "device.not_found"),
        ({"selector": "flapping"}, Invalid, "federated_run.too_few_devices"),
    ],
)
def test_create_when_something_does_not_fit_then_is_refused_by_name(
    registry: Registry, changes: dict[str, Any], error: type[ShoalError], code: str
) -> None:
    request = run_request().model_copy(update=changes)
    with pytest.raises(error) as caught, registry.database.transaction() as session:
        service.create(session, registry.blobs, request, "test")
    assert caught.value.code == code


def test_create_when_no_device_can_take_part_then_says_how_many_for_which_reason(registry: Registry) -> None:
    with registry.database.transaction() as session:
        away, _, cannot = session.scalars(select(DeviceRow).order_by(DeviceRow.id))
        away.online = False
        cannot.facts = {"can_train": False}
    with pytest.raises(Invalid) as caught:
        registry.start(min_updates=2)
    assert caught.value.facts["left_out"] == {"offline": 1, "cannot_train": 1}
    assert str(caught.value) == (
        "A round needs 2 devices; of those selected, 1 can train now, 1 cannot_train, 1 offline."
    )
