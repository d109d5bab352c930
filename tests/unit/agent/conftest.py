"""An enrolled identity with its journal and outbox, without a controller."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.identity import Identity
from agent.journal import Journal
from agent.outbox import Outbox
from controller.keys import Keys
from shoal.wire.devices import EnrollAnswer

DEVICE = "d-aaaaaaaaaaaaaaaa"


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    keys = Keys.open(tmp_path / "controller")
    identity = Identity.open(tmp_path / "device")
    certificate = keys.issue_device_certificate(
        identity.certificate_request(), DEVICE, timedelta(days=30), datetime.now(UTC)
    )
    answer = EnrollAnswer(
        device_id=DEVICE,
        certificate=certificate.pem,
        ca=keys.ca_pem,
        broker_url="mqtt://127.0.0.1:1",
        controller_keys=keys.controller_keys,
        expires_at=certificate.expires_at.isoformat(),
        renew_after_s=20 * 86400,
    )
    identity.keep(answer, "https://127.0.0.1:1")
    return identity


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "device" / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def outbox(identity: Identity, journal: Journal) -> Outbox:
    return Outbox(identity, journal, "boot")
