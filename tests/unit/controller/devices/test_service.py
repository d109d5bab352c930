"""The registry's order: what is late, doubled or from an older session changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.db import Base, Database, utc_now
from controller.devices import service
from controller.devices.lifecycle import DeviceState
from controller.devices.selectors import select_devices
from controller.devices.tables import ReceiptRow
from controller.errors import ShoalError
from controller.events import EventRow, OutboxRow
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


def test_receipt_when_it_comes_twice_then_is_kept_once(session: Session) -> None:
    receipt = Receipt(
        id="1-3",
        session=1,
        sequence=3,
        boot_id="b",
        model="digits",
        version=1,
        variant_id="v",
        slot="a",
        runtime="onnxruntime",
        runtime_version="1",
        sha256="0" * 64,
        golden=GoldenResult(samples=32, agreement=1.0, max_abs_error=0.0, passed=True),
        latency_p50_ms=0.1,
    )
    device = service.get(session, DEVICE)
    assert service.add_receipt(session, device, receipt, b"{}", utc_now()) is not None
    assert service.add_receipt(session, device, receipt, b"{}", utc_now()) is None
    assert len(session.scalars(select(ReceiptRow)).all()) == 1
    assert [row.name for row in session.scalars(select(EventRow))] == ["receipt.accepted"]


def test_selector_when_labels_equal_then_selects_and_otherwise_not(session: Session) -> None:
    assert [device.id for device in select_devices(session, {"labels": {"site": "lyon"}})] == [DEVICE]
    assert select_devices(session, {"labels": {"site": "oslo"}}) == []


@pytest.mark.parametrize(
    ("selector", "code"),
    [
        ({}, "selector.ambiguous"),
        ({"all": True, "labels": {"a": "b"}}, "selector.ambiguous"),
        ({"device_ids": ["d-nobody"]}, "device.not_found"),
    ],
)
def test_selector_when_bad_then_is_refused_by_name(session: Session, selector: dict[str, object], code: str) -> None:
    with pytest.raises(ShoalError) as caught:
        select_devices(session, selector)
    assert caught.value.code == code
