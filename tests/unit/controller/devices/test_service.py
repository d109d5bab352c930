"""The registry's order: what is late, doubled or from an older session changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.db import Base, Database, utc_now
from controller.devices import service
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import ReceiptRow
from controller.errors import ShoalError
from controller.events import EventRow, OutboxRow
from shoal.wire.devices import Facts, FactsReport
from shoal.wire.rollouts import GoldenResult, Receipt
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    Base.metadata.create_all(database.engine)
    with database.transaction() as session:
        add_device(session, DEVICE, labels={"site": "lyon"})
        yield session
    database.close()


def test_desired_when_the_device_is_suspended_then_is_kept_and_not_published(session: Session) -> None:
    service.get(session, DEVICE).state = DeviceState.SUSPENDED
    desired = service.change_desired(session, DEVICE, lambda desired: desired)
    assert desired.version == service.desired_of(session, DEVICE).version == 1
    assert not session.scalars(select(OutboxRow)).all()
    assert [row.name for row in session.scalars(select(EventRow))] == ["desired.changed"]


def test_facts_when_they_become_others_then_the_timeline_names_them(session: Session) -> None:
    device = service.get(session, DEVICE)

    def say(sequence: int, **facts: Any) -> bool:
        known: dict[str, Any] = {"hostname": "h", "machine": "m", "system": "s", "python": "3", "agent_version": "1"}
        body = Facts(runtimes={}, can_train=False, **{**known, **facts})
        report = FactsReport(id=f"1-{sequence}", session=1, sequence=sequence, facts=body)
        return service.save_facts(session, device, report, utc_now())

    assert say(1, disk_free_bytes=10)
    assert say(2, disk_free_bytes=9)
    assert say(4, hostname="other", cpu_cores=4)
    assert not say(3, hostname="older")
    assert [row.data for row in session.scalars(select(EventRow))] == [{"changed": ["cpu_cores", "hostname"]}]
    assert device.facts["hostname"] == "other"


def proof(sequence: int, version: int = 1) -> Receipt:
    return Receipt(
        id=f"1-{sequence}",
        session=1,
        sequence=sequence,
        boot_id="b",
        model="digits",
        version=version,
        variant_id="v",
        slot="a",
        runtime="onnxruntime",
        runtime_version="1",
        sha256="0" * 64,
        golden=GoldenResult(samples=32, agreement=1.0, max_abs_error=0.0, passed=True),
        latency_p50_ms=0.1,
    )


def test_receipt_when_it_comes_twice_then_is_kept_once(session: Session) -> None:
    device = service.get(session, DEVICE)
    assert service.add_receipt(session, device, proof(3), b"{}", utc_now()) is not None
    assert service.add_receipt(session, device, proof(3), b"{}", utc_now()) is None
    assert len(session.scalars(select(ReceiptRow)).all()) == 1
    assert [row.name for row in session.scalars(select(EventRow))] == ["receipt.accepted"]


def test_receipt_when_one_that_was_signed_earlier_comes_late_then_the_latest_stays(session: Session) -> None:
    device = service.get(session, DEVICE)
    for sequence in (5, 9, 7):
        service.add_receipt(session, device, proof(sequence, version=sequence), b"{}", utc_now())
    assert session.scalars(select(ReceiptRow.version).where(ReceiptRow.is_latest.is_(True))).all() == [9]


def test_selector_when_labels_equal_then_selects_and_otherwise_not(session: Session) -> None:
    assert [device.id for device in service.select_by(session, 'labels.site == "lyon"')] == [DEVICE]
    assert service.select_by(session, 'labels.site == "oslo"') == []


def test_selector_when_accepted_then_is_kept_in_its_one_spelling(session: Session) -> None:
    assert service.accept_selector(session, ' labels["site"]=="lyon" ') == 'labels.site == "lyon"'


@pytest.mark.parametrize(
    ("selector", "code"),
    [
        ("", "selector.syntax"),
        ('labels.sites == "lyon"', "selector.unknown_label"),
        ('group == "none"', "selector.unknown_group"),
        ("id in (d-nobody)", "device.not_found"),
    ],
)
def test_selector_when_bad_then_is_refused_by_name(session: Session, selector: str, code: str) -> None:
    with pytest.raises(ShoalError) as caught:
        service.accept_selector(session, selector)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("selector", "ids"),
    [
        ("id in (d-b, d-a)", ["d-a", "d-b"]),
        ("id == d-a", ["d-a"]),
        ("not id == d-a", []),
        ("id == d-a and online", []),
        ("all", []),
    ],
)
def test_ids_when_a_selector_does_more_than_to_name_then_are_none(selector: str, ids: list[str]) -> None:
    assert service.ids_named_by(selector) == ids
