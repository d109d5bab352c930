"""Profiles on both databases: asked for, kept by hardware class, and what follows for a device and a rollout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import removal
from controller.artifacts.tables import VersionRow
from controller.db import Database, utc_now
from controller.devices import service as devices
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound
from controller.executions.tables import ExecutionRow
from controller.observe import RefusalRow
from controller.profiles import service
from controller.profiles.resolver import Limits
from controller.profiles.tables import ProfileRow, ProfilingRow
from controller.rollouts import service as rollouts
from shoal.schemas.profiles import Candidate, ProfileRequest
from shoal.schemas.rollouts import RolloutRequest
from shoal.wire.executions import ReportState
from shoal.wire.profiles import ProfileSpec
from shoal.wire.rollouts import Desired, GoldenResult, Receipt
from tests.databases import make_tables
from tests.profiling import FAST, PI4, PI5, SLOW, add_machine, add_variant, add_version, answer, open_profiles, result


@pytest.fixture
def session(empty_database: Database) -> Iterator[Session]:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        yield session


@pytest.fixture
def version(session: Session) -> VersionRow:
    """int8 is the smaller one, fp32 the larger."""
    version = add_version(session)
    add_variant(session, version, "fp32", "onnxruntime", 4_000_000)
    add_variant(session, version, "int8", "onnxruntime", 1_000_000)
    return version


def request(**others: Any) -> ProfileRequest:
    return ProfileRequest.model_validate({"model": "linear", "version": 1, "selector": "all", **others})


def explain(session: Session, version: VersionRow, device_id: str) -> dict[str, Candidate]:
    device = session.get_one(DeviceRow, device_id)
    return {one.recipe: one for one in service.explain(session, version, device, Limits()).candidates}


def measured(session: Session, folder: Path, **latencies: float) -> None:
    """All that is wanted is answered, by recipe."""
    for number, execution in enumerate(open_profiles(session)):
        spec = msgspec.convert(execution.spec, ProfileSpec)
        answer(session, execution, result(latencies[spec.variant.recipe]), folder, sequence=number + 1)


def test_profiles_when_wanted_then_one_device_of_each_class_measures_what_it_can_run(
    session: Session, version: VersionRow
) -> None:
    add_variant(session, version, "int8", "openvino", 1_000_000)
    add_machine(session, "d-a", PI4, online=False)
    add_machine(session, "d-b", PI4)
    add_machine(session, "d-c", PI5, "onnxruntime", "openvino")
    add_machine(session, "d-d", PI5, "litert")
    row = service.create(session, request(), "test")
    wanted = [
        (one.device_id, one.spec["variant"]["recipe"], one.spec["variant"]["runtime"]) for one in open_profiles(session)
    ]
    assert wanted == [
        ("d-b", "fp32", "onnxruntime"),
        ("d-b", "int8", "onnxruntime"),
        ("d-c", "fp32", "onnxruntime"),
        ("d-c", "int8", "onnxruntime"),
        ("d-c", "int8", "openvino"),
    ]
    (shown,) = service.profilings(session, [row])
    assert shown.executions == {"sent": 2, "queued": 3}  # a device measures one at a time
    spec = msgspec.convert(open_profiles(session)[0].spec, ProfileSpec)
    assert spec.variant.signature is not None
    assert (spec.variant.task, spec.variant.format, spec.runs) == ("classification", "onnx", 200)


def test_profiles_when_all_devices_and_one_variant_are_wanted_then_it_is_those(
    session: Session, version: VersionRow
) -> None:
    for device_id in ("d-a", "d-b"):
        add_machine(session, device_id, PI4)
    variant = add_variant(session, version, "fp16", "onnxruntime", 2_000_000)
    service.create(session, request(variants=[variant], devices_per_class=0, runs=10), "test")
    assert [(one.device_id, one.spec["runs"]) for one in open_profiles(session)] == [("d-a", 10), ("d-b", 10)]


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"version": 9}, "version.not_found"),
        ({"variants": ["v"]}, "variant.not_found"),
        ({"selector": 'facts.machine == "mips"'}, "profiling.no_devices"),
        ({"selector": "id in (d-b)"}, "profiling.nothing_fits"),
    ],
)
def test_profiles_when_they_cannot_be_measured_then_are_refused_by_name(
    session: Session, version: VersionRow, others: dict[str, Any], code: str
) -> None:
    add_machine(session, "d-a", PI4)
    add_machine(session, "d-b", PI4, "litert")
    with pytest.raises((Invalid, NotFound)) as refusal:
        service.create(session, request(**others), "test")
    assert refusal.value.code == code


def test_profile_when_it_comes_then_all_of_the_class_choose_by_it(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    add_machine(session, "d-a", PI4)
    add_machine(session, "d-b", {**PI4, "hostname": "elsewhere", "board": "Raspberry Pi 4 Model B Rev 1.1"})
    assert explain(session, version, "d-b")["int8"].code == "chosen"
    service.create(session, request(), "test")
    measured(session, tmp_path, fp32=2.0, int8=5.0)
    found = explain(session, version, "d-b")
    assert (found["fp32"].code, found["fp32"].latency_p50_ms, found["fp32"].source) == ("chosen", 2.0, "profile")
    assert found["int8"].reason == "It takes 5 ms, the chosen one 2 ms."
    (first, _) = service.profiles(session, session.scalars(select(ProfileRow).order_by(ProfileRow.id)).all())
    assert (first.hardware, first.device_id, first.passed) == (
        "Raspberry Pi 4 Model B, aarch64, 4 cores, 4 GiB",
        "d-a",
        True,
    )


def test_profile_when_of_another_class_then_is_an_estimate_by_both_sides_rates(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    add_machine(session, "d-a", {**PI4, "measured": SLOW})
    service.create(session, request(), "test")
    measured(session, tmp_path, fp32=20.0, int8=60.0)
    add_machine(session, "d-b", {**PI5, "measured": FAST})
    found = explain(session, version, "d-b")
    assert (found["fp32"].code, found["fp32"].latency_p50_ms, found["fp32"].source) == ("chosen", 5.0, "estimate")
    assert "Raspberry Pi 4" in found["fp32"].reason


def test_new_version_when_the_class_measured_the_one_before_then_is_estimated_from_the_cloud(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    add_machine(session, "d-a", PI4)
    service.create(session, request(), "test")
    measured(session, tmp_path, fp32=4.0, int8=20.0)  # 4 and 20 times slower than in the cloud
    following = add_version(session)
    add_variant(session, following, "fp32", "onnxruntime", 4_000_000, latency_p50_ms=2.0)
    add_variant(session, following, "int8", "onnxruntime", 1_000_000, latency_p50_ms=1.0)
    found = explain(session, following, "d-a")
    assert (found["fp32"].code, found["fp32"].latency_p50_ms, found["fp32"].source) == ("chosen", 8.0, "estimate")
    assert found["int8"].latency_p50_ms == 20.0


def test_rollout_when_profiles_exist_then_each_class_gets_what_is_best_there(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    add_machine(session, "d-a", PI4)
    service.create(session, request(), "test")
    measured(session, tmp_path, fp32=2.0, int8=5.0)
    add_machine(session, "d-b", PI5)
    row = rollouts.create(session, RolloutRequest(model="linear", version=1, selector="all"), "test")
    assert {one.device_id: one.recipe for one in rollouts.targets(session, row)} == {"d-a": "fp32", "d-b": "int8"}


def test_golden_set_when_it_fails_in_a_profile_then_the_class_never_gets_it_until_one_passes(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    for device_id, facts in (("d-a", PI4), ("d-b", PI5)):
        add_machine(session, device_id, facts)
    service.create(session, request(selector="id in (d-a)"), "test")
    for number, execution in enumerate(open_profiles(session)):
        passed = execution.spec["variant"]["recipe"] == "fp32"
        answer(session, execution, result(1.0, passed=passed), tmp_path, sequence=number + 1)
    assert {name: one.code for name, one in explain(session, version, "d-a").items()} == {
        "fp32": "chosen",
        "int8": "golden.failed",
    }
    row = rollouts.create(session, RolloutRequest(model="linear", version=1, selector="all"), "test")
    assert {one.device_id: one.recipe for one in rollouts.targets(session, row)} == {"d-a": "fp32", "d-b": "int8"}
    int8 = explain(session, version, "d-a")["int8"].variant_id
    service.create(session, request(selector="id in (d-a)", variants=[int8]), "test")
    answer(session, open_profiles(session)[-1], result(0.5), tmp_path, sequence=9)
    assert explain(session, version, "d-a")["int8"].code == "chosen"
    (profile,) = session.scalars(select(ProfileRow).where(ProfileRow.variant_id == int8))
    assert [one["passed"] for one in profile.history] == [True, False]


def test_golden_set_when_it_fails_in_a_rollout_then_the_class_is_not_offered_it_again(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    for device_id in ("d-a", "d-b"):
        add_machine(session, device_id, PI4)
    rollout = rollouts.create(session, RolloutRequest(model="linear", version=1, selector="all"), "test")
    rollouts.advance(session, utc_now())
    (step, _) = rollouts.targets(session, rollout)
    execution = session.get_one(ExecutionRow, step.execution_id)
    answer(session, execution, {}, tmp_path, state=ReportState.FAILED, code="golden.failed")
    found = explain(session, version, "d-b")
    assert {name: one.code for name, one in found.items()} == {"fp32": "chosen", "int8": "golden.failed"}


def test_receipt_when_its_golden_set_failed_then_the_class_is_not_offered_it_again(
    session: Session, version: VersionRow
) -> None:
    add_machine(session, "d-a", PI4)
    rollout = rollouts.create(session, RolloutRequest(model="linear", version=1, selector="all"), "test")
    rollouts.advance(session, utc_now())
    (step,) = rollouts.targets(session, rollout)
    receipt = Receipt(
        id="1-1",
        session=1,
        sequence=1,
        boot_id="b",
        model="linear",
        version=1,
        variant_id=step.variant_id,
        slot="a",
        runtime="onnxruntime",
        runtime_version="1",
        sha256="0" * 64,
        golden=GoldenResult(samples=10, agreement=0.1, max_abs_error=9, passed=False),
        latency_p50_ms=1.0,
        execution_id=step.execution_id or "",
    )
    rollouts.on_receipt(session, session.get_one(DeviceRow, "d-a"), receipt, utc_now())
    assert explain(session, version, "d-a")["int8"].code == "golden.failed"


def test_desired_when_a_wave_opens_then_says_all_that_a_device_needs_to_know(
    session: Session, version: VersionRow
) -> None:
    add_machine(session, "d-a", PI4)
    rollouts.create(session, RolloutRequest(model="linear", version=1, selector="all"), "test")
    rollouts.advance(session, utc_now())
    (variant,) = msgspec.convert(devices.desired_of(session, "d-a").body, Desired).variants
    assert variant.signature is not None
    assert [(one.name, one.shape) for one in variant.signature.inputs] == [("input", [-1, 4])]
    assert (variant.format, variant.task, variant.class_labels) == ("onnx", "classification", ["a"])


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "profile.malformed"),
        (result(1.0, latency_p50_ms="fast"), "profile.malformed"),
        (result(1.0, latency_p95_ms=0.5), "profile.implausible"),
        (result(1.0, runs=3), "profile.implausible"),
        (result(1.0, load_s=float("inf")), "profile.not_finite"),
        (
            result(1.0, golden={"samples": 0, "agreement": 1.0, "max_abs_error": 0.0, "passed": True}),
            "profile.implausible",
        ),
    ],
)
def test_profile_when_it_cannot_be_believed_then_is_refused_by_name(
    session: Session, version: VersionRow, tmp_path: Path, said: dict[str, Any], code: str
) -> None:
    add_machine(session, "d-a", PI4)
    service.create(session, request(), "test")
    execution = answer(session, open_profiles(session)[0], said, tmp_path)
    assert (execution.state, execution.code) == ("failed", code)
    assert session.scalars(select(ProfileRow)).all() == []
    assert [row.code for row in session.scalars(select(RefusalRow))] == [code]


def test_profile_when_it_comes_twice_or_late_then_what_was_asked_for_last_stays(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    for device_id in ("d-a", "d-b"):
        add_machine(session, device_id, PI4)
    variant = explain(session, version, "d-a")["int8"].variant_id
    service.create(session, request(variants=[variant], devices_per_class=0), "test")
    earlier, later = open_profiles(session)
    answer(session, later, result(2.0), tmp_path)
    answer(session, earlier, result(9.0), tmp_path)
    answer(session, later, result(7.0), tmp_path, sequence=2)
    (row,) = session.scalars(select(ProfileRow))
    assert (row.latency_p50_ms, row.execution_id) == (2.0, later.id)
    assert [one["latency_p50_ms"] for one in row.history] == [2.0, 9.0]


def test_profile_when_measured_often_then_its_history_is_bounded(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    add_machine(session, "d-a", PI4)
    variant = explain(session, version, "d-a")["int8"].variant_id
    for number in range(service.HISTORY + 3):
        service.create(session, request(variants=[variant]), "test")
        answer(session, open_profiles(session)[-1], result(1.0 + number), tmp_path)
    (row,) = session.scalars(select(ProfileRow))
    assert [one["latency_p50_ms"] for one in row.history] == [3.0 + service.HISTORY - n for n in range(service.HISTORY)]


def test_request_when_cancelled_then_nothing_more_is_measured(session: Session, version: VersionRow) -> None:
    add_machine(session, "d-a", PI4)
    row = service.create(session, request(), "test")
    service.cancel(session, row, utc_now())
    assert service.profilings(session, [row])[0].executions == {"canceled": 2}


def test_variant_when_deleted_then_what_was_measured_of_it_goes_along(
    session: Session, version: VersionRow, tmp_path: Path
) -> None:
    add_machine(session, "d-a", PI4)
    variants = [one.variant_id for one in explain(session, version, "d-a").values()]
    service.create(session, request(), "test")
    measured(session, tmp_path, fp32=2.0, int8=5.0)
    for variant in variants:
        removal.delete_variant(session, variant)
    removal.delete_version(session, "linear", 1)
    session.expire_all()
    assert session.scalars(select(ProfileRow)).all() == []
    assert session.scalars(select(ProfilingRow)).all() == []
