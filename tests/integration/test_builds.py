"""Demand from rows, one click that builds what is missing, and policies that do so by themselves, on both databases."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts.tables import VersionRow
from controller.compression import building, policies, service
from controller.compression.policies import Builder
from controller.db import Database, utc_now
from controller.devices.tables import DeviceRow
from controller.errors import Conflict, Invalid, NotFound
from controller.jobs import service as jobs
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow, TrialRow
from controller.profiles.resolver import Limits
from controller.profiles.tables import BuildPolicyRow, ProfilingRow
from shoal.schemas.profiles import BuildPolicy
from tests.databases import make_tables
from tests.profiling import PI4, PI5, add_datasets, add_machine, add_variant, add_version, open_profiles


@pytest.fixture
def database(empty_database: Database) -> Database:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        add_version(session)
        add_datasets(session)
        for device_id, facts in (("d-a", PI4), ("d-b", PI4), ("d-c", PI5)):
            add_machine(session, device_id, facts, "onnxruntime")
    return empty_database


def wants(**others: Any) -> BuildPolicy:
    named = {"calibration_dataset": "calibration", "evaluation_dataset": "evaluation", "golden_dataset": "golden"}
    return BuildPolicy.model_validate({"selector": "all", **named, **others})


def version_of(session: Session, number: int = 1) -> VersionRow:
    return session.scalars(select(VersionRow).where(VersionRow.number == number)).one()


def needs(session: Session, number: int = 1) -> list[tuple[str, str, str, int]]:
    found = building.demand_of(session, version_of(session, number), "all", Limits())
    return [(need.recipe, need.runtime, need.state, need.devices) for need in found.needs]


def built(session: Session) -> list[tuple[str, list[tuple[str, str]]]]:
    """What jobs were wanted for."""
    return [(row.subject, service.planned(row)) for row in session.scalars(select(JobRow).order_by(JobRow.id))]


def refuse(session: Session, job: JobRow, recipe: str) -> None:
    """A job that tried something and found it wanting has ended."""
    session.add(
        TrialRow(
            job_id=job.id,
            key=f"{recipe}/onnxruntime",
            recipe=recipe,
            steps=[],
            runtime="onnxruntime",
            state="refused",
            code="budget.accuracy",
            message="3 points below",
            figures={},
            artifacts={},
            created_at=utc_now(),
        )
    )
    jobs.begin(session, job)
    jobs.finish(session, job, JobState.REFUSED, code="budget.accuracy", message="3 points below")


def test_demand_when_things_move_on_then_follows_them(database: Database) -> None:
    with database.transaction() as session:
        assert needs(session) == [("int8", "onnxruntime", "missing", 3)]
        job = building.build_missing(session, version_of(session), wants(), "test")
        assert built(session) == [("linear/1", [("int8", "onnxruntime")])]
        found = building.demand_of(session, version_of(session), "all", Limits())
        assert [(need.state, need.job_id) for need in found.needs] == [("building", job.id)]
        with pytest.raises(Conflict, match="Nothing is missing"):
            building.build_missing(session, version_of(session), wants(), "test")
        refuse(session, job, "int8")
        assert needs(session) == [
            ("fp16", "onnxruntime", "missing", 3),
            ("int8", "onnxruntime", "refused", 3),
        ]
        add_variant(session, version_of(session), "fp16", "onnxruntime", 2_000_000)
        assert needs(session)[0] == ("fp16", "onnxruntime", "present", 3)


def test_demand_when_a_selector_is_wrong_then_is_refused(database: Database) -> None:
    with database.reading() as session, pytest.raises(Invalid):
        building.demand_of(session, version_of(session), "facts.", Limits())


@pytest.mark.parametrize(
    ("model", "others", "code"),
    [
        ("none", {}, "model.not_found"),
        ("linear", {"golden_dataset": "none"}, "dataset.not_found"),
        ("linear", {"selector": "facts."}, "selector.syntax"),
    ],
)
def test_policy_when_it_names_what_is_not_there_then_is_refused(
    database: Database, model: str, others: dict[str, Any], code: str
) -> None:
    with database.transaction() as session:
        with pytest.raises((NotFound, Invalid)) as refusal:
            policies.put(session, model, wants(**others), "test")
        assert refusal.value.code == code


def test_policy_when_set_then_builds_what_is_missing_once_and_has_it_measured_by_each_class(
    database: Database,
) -> None:
    builder = Builder(database)
    builder.advance()
    with database.transaction() as session:
        policies.put(session, "linear", wants(), "test")
    advance(builder, times=3)
    with database.transaction() as session:
        assert built(session) == [("linear/1", [("int8", "onnxruntime")])]
        assert open_profiles(session) == []
        (job,) = session.scalars(select(JobRow))
        add_variant(session, version_of(session), "int8", "onnxruntime", 1_000_000)
        jobs.begin(session, job)
        jobs.finish(session, job, JobState.SUCCEEDED)
    advance(builder, times=3)
    with database.reading() as session:
        assert [one.device_id for one in open_profiles(session)] == ["d-a", "d-c"]
        assert [row.created_by for row in session.scalars(select(ProfilingRow))] == ["build-policy"]
        assert len(built(session)) == 1


def test_policy_when_a_version_comes_then_builds_for_it_and_not_for_the_old_one(database: Database) -> None:
    builder = Builder(database)
    with database.transaction() as session:
        policies.put(session, "linear", wants(profile=False), "test")
    advance(builder)
    with database.transaction() as session:
        add_version(session, state="checking")
        events.record(session, "version.created", subject="linear/2")
    advance(builder)
    with database.transaction() as session:
        assert [subject for subject, _ in built(session)] == ["linear/1"]
        version_of(session, 2).state = "ready"
        events.record(session, "version.inspected", subject="linear/2")
    advance(builder, times=2)
    with database.reading() as session:
        assert [subject for subject, _ in built(session)] == ["linear/1", "linear/2"]


def test_policy_when_the_budget_refused_int8_then_builds_the_next_precision(database: Database) -> None:
    builder = Builder(database)
    with database.transaction() as session:
        policies.put(session, "linear", wants(profile=False), "test")
    advance(builder)
    with database.transaction() as session:
        refuse(session, session.scalars(select(JobRow)).one(), "int8")
    advance(builder, times=2)
    with database.reading() as session:
        assert [pairs for _, pairs in built(session)] == [[("int8", "onnxruntime")], [("fp16", "onnxruntime")]]


def test_policy_when_another_kind_of_device_joins_then_builds_for_it(database: Database) -> None:
    builder = Builder(database)
    with database.transaction() as session:
        policies.put(session, "linear", wants(profile=False), "test")
    advance(builder)
    with database.transaction() as session:
        add_machine(session, "d-d", {"machine": "x86_64"}, "torchscript")
        events.record(session, "device.enrolled", subject="d-d")
    advance(builder, times=2)
    with database.reading() as session:
        assert Counter(pair for _, pairs in built(session) for pair in pairs) == {
            ("int8", "onnxruntime"): 1,
            ("int8", "torchscript"): 1,
        }


def test_policy_when_the_scheduler_dies_in_the_middle_then_does_nothing_twice(database: Database) -> None:
    with database.transaction() as session:
        policies.put(session, "linear", wants(), "test")
        add_variant(session, version_of(session), "fp32", "onnxruntime", 4_000_000)
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        policies.look(session, "linear")
        raise ZeroDivisionError
    with database.reading() as session:
        assert built(session) == []
    for _ in range(3):  # each a new process, which remembers nothing
        advance(Builder(database))
    with database.reading() as session:
        assert built(session) == [("linear/1", [("int8", "onnxruntime")])]
        assert [one.device_id for one in open_profiles(session)] == ["d-a", "d-c"]


def test_policy_when_nothing_can_be_built_then_says_why_and_tries_again_when_set_again(database: Database) -> None:
    builder = Builder(database)
    with database.transaction() as session:
        policies.put(session, "linear", wants(evaluation_dataset="golden"), "test")
    advance(builder, times=2)
    with database.transaction() as session:
        assert "[recipe.wrong_role]" in policies.get(session, "linear").message
        assert built(session) == []
        policies.put(session, "linear", wants(), "test")
    advance(builder)
    with database.transaction() as session:
        assert len(built(session)) == 1
        assert session.get_one(BuildPolicyRow, "linear").message == ""
        policies.remove(session, "linear")
        with pytest.raises(NotFound):
            policies.remove(session, "linear")


def test_policy_when_no_device_is_meant_then_does_nothing(database: Database) -> None:
    with database.transaction() as session:
        policies.put(session, "linear", wants(selector="id in (d-a)"), "test")
        for device in session.scalars(select(DeviceRow)):
            device.state = "suspended"
    advance(Builder(database))
    with database.reading() as session:
        assert built(session) == []


def advance(builder: Builder, times: int = 1) -> None:
    """Ticks, each after the pause between two looks."""
    for _ in range(times):
        builder.look_again_at = 0.0
        builder.advance()
