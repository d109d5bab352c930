"""Commands on both databases: what is offered, and which logs count as a device's own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.errors import NotFound, ShoalError
from controller.executions import commands
from controller.executions.retries import ErrorClass, class_of
from controller.executions.states import ExecutionState
from controller.executions.tables import ExecutionRow
from shoal.schemas.executions import CommandRequest
from tests.databases import make_tables
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"
LOG = {"sha256": "a" * 64, "size_bytes": 5000}


@pytest.fixture
def session(empty_database: Database) -> Iterator[Session]:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        add_device(session, DEVICE, online=True)
        yield session


@pytest.fixture
def blobs(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("blobs").as_uri())


def given(session: Session, name: Any, **others: Any) -> ExecutionRow:
    row = commands.create(session, CommandRequest(name=name, selector="all", **others), "test", utc_now())
    execution = session.scalar(select(ExecutionRow).where(ExecutionRow.owner_id == row.id))
    assert execution is not None
    return execution


def refusal(session: Session, blobs: BlobStore, execution: ExecutionRow, log: Any) -> str:
    with pytest.raises(ShoalError) as caught:
        commands.accept(session, blobs, execution, {"log": log}, utc_now())
    return caught.value.code


def test_spec_when_a_log_is_wanted_then_says_how_much_and_otherwise_only_the_name(session: Session) -> None:
    assert given(session, "collect_logs", log_bytes=4096).spec == {"name": "collect_logs", "log_bytes": 4096}
    assert given(session, "collect_logs").spec == {"name": "collect_logs"}
    assert given(session, "forget_data").spec == {"name": "forget_data"}


def test_log_when_the_device_uploaded_it_then_can_be_read(session: Session, blobs: BlobStore) -> None:
    execution = given(session, "collect_logs", log_bytes=5000)
    artifacts.record_artifact(session, LOG["sha256"], 5000, DEVICE)
    commands.accept(session, blobs, execution, {"log": LOG}, utc_now())
    with pytest.raises(NotFound):
        commands.log_of(session, execution.id)
    execution.state, execution.result = ExecutionState.SUCCEEDED, {"log": LOG}
    assert commands.log_of(session, execution.id) == LOG["sha256"]


def test_log_when_it_is_not_the_devices_own_then_is_refused(session: Session, blobs: BlobStore) -> None:
    """The attack: a device that names a model, or another device's log, would have it shown as its own."""
    execution = given(session, "collect_logs")
    artifacts.record_artifact(session, LOG["sha256"], 5000, "d-bbbbbbbbbbbbbbb2")
    assert refusal(session, blobs, execution, LOG) == "log.not_its_own"


def test_log_when_its_size_is_another_then_is_refused(session: Session, blobs: BlobStore) -> None:
    artifacts.record_artifact(session, LOG["sha256"], 5000, DEVICE)
    assert refusal(session, blobs, given(session, "collect_logs"), {**LOG, "size_bytes": 7}) == "log.not_its_own"
    assert refusal(session, blobs, given(session, "collect_logs", log_bytes=4096), LOG) == "log.too_large"


@pytest.mark.parametrize("log", [None, {}, "a" * 64, {"sha256": "../../x", "size_bytes": 1}])
def test_log_when_the_answer_names_none_then_is_refused(session: Session, blobs: BlobStore, log: Any) -> None:
    assert refusal(session, blobs, given(session, "collect_logs"), log) == "log.malformed"


def test_log_when_it_was_never_uploaded_then_is_refused(session: Session, blobs: BlobStore) -> None:
    assert refusal(session, blobs, given(session, "collect_logs"), LOG) == "artifact.not_found"


def test_answer_when_of_another_command_then_is_taken_as_it_is(session: Session, blobs: BlobStore) -> None:
    commands.accept(session, blobs, given(session, "ping"), json.loads('{"log": 7}'), utc_now())


def test_command_when_the_device_is_busy_then_is_tried_again() -> None:
    assert class_of("command.busy") is ErrorClass.RESOURCE
