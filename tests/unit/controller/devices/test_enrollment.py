"""Enrolment: one key is one device, tokens are counted once, and every refusal has a name."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import func, select

from controller.db import Base, Database, utc_now
from controller.devices import enrollment, identity
from controller.devices.tables import BrokerAccessRow, CertificateRow, DeviceRow, EnrollmentTokenRow
from controller.errors import Conflict, Forbidden, ShoalError
from controller.keys import Keys
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import topics
from shoal.wire.devices import EnrollAnswer, EnrollPending, EnrollRequest, Facts, RenewRequest

FACTS = Facts(
    hostname="cam-1",
    machine="x86_64",
    system="Linux",
    python="3.11",
    agent_version="0.1.0",
    runtimes={},
    can_train=False,
)


def csr_of(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, name: str = "whoever") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(key, algorithm)
        .public_bytes(Encoding.PEM)
        .decode()
    )


class Office:
    """A controller's database and keys, with one way in."""

    def __init__(self, state: Path) -> None:
        self.settings = Settings(state=state)
        self.keys = Keys.open(state)
        self.database = Database(self.settings.resolved_database_url())
        Base.metadata.create_all(self.database.engine)

    def token(self, **wanted: object) -> str:
        with self.database.transaction() as session:
            request = EnrollmentTokenRequest.model_validate(wanted)
            return enrollment.create_token(session, request, ca_digest=self.keys.ca_digest, actor="test")[1]

    def ask(
        self, token: str, csr: str, now: datetime | None = None, hardware_id: str | None = None
    ) -> EnrollAnswer | EnrollPending:
        with self.database.transaction() as session:
            facts = msgspec.structs.replace(FACTS, hardware_id=hardware_id)
            request = EnrollRequest(token=token, csr=csr, facts=facts)
            return enrollment.enroll(session, self.keys, self.settings, request, now or utc_now())

    def enroll(self, *wanted: Any, **others: Any) -> EnrollAnswer:
        answer = self.ask(*wanted, **others)
        assert isinstance(answer, EnrollAnswer)
        return answer

    def pending(self, *wanted: Any, **others: Any) -> EnrollPending:
        answer = self.ask(*wanted, **others)
        assert isinstance(answer, EnrollPending)
        return answer

    def change(self, change: Callable[..., DeviceRow], *arguments: Any) -> None:
        with self.database.transaction() as session:
            change(session, *arguments, utc_now())

    def device(self, device_id: str) -> DeviceRow:
        with self.database.reading() as session:
            return session.get_one(DeviceRow, device_id)

    def revoked(self) -> list[str]:
        with self.database.transaction() as session:
            identity.make_access(session, self.keys, utc_now())
            crl = x509.load_pem_x509_crl(session.get_one(BrokerAccessRow, 1).crl.encode())
            serials = {f"{entry.serial_number:x}" for entry in crl}
            rows = session.scalars(select(CertificateRow).where(CertificateRow.revoked_at.is_not(None)))
            assert serials == {row.serial for row in rows}
            return [row.device_id for row in session.scalars(select(CertificateRow)) if row.serial in serials]

    def refusal(self, token: str, csr: str, now: datetime | None = None) -> str:
        with pytest.raises(ShoalError) as caught:
            self.enroll(token, csr, now)
        return caught.value.code

    def counts(self) -> tuple[int, int]:
        with self.database.reading() as session:
            devices = session.scalar(select(func.count()).select_from(DeviceRow)) or 0
            return devices, session.scalar(select(func.sum(EnrollmentTokenRow.uses))) or 0


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_enroll_when_new_then_gets_an_id_and_a_certificate_for_it(office: Office) -> None:
    key = Ed25519PrivateKey.generate()
    answer = office.enroll(office.token(labels={"site": "lyon"}), csr_of(key, name="d-somebodyelse222"))
    certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
    assert topics.is_device_id(answer.device_id)
    assert certificate.subject.rfc4514_string() == f"CN={answer.device_id}"
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(answer.ca.encode()))


def test_enroll_when_repeated_with_the_same_key_then_is_the_same_device_and_spends_nothing(office: Office) -> None:
    token, csr = office.token(max_uses=1), csr_of(Ed25519PrivateKey.generate())
    assert office.enroll(token, csr).device_id == office.enroll(token, csr).device_id
    assert office.counts() == (1, 1)


def test_enroll_when_token_is_spent_then_is_refused_and_changes_nothing(office: Office) -> None:
    token = office.token(max_uses=1)
    office.enroll(token, csr_of(Ed25519PrivateKey.generate()))
    assert office.refusal(token, csr_of(Ed25519PrivateKey.generate())) == "enrollment.token_spent"
    assert office.counts() == (1, 1)


def test_enroll_when_token_is_wrong_or_expired_then_is_refused(office: Office) -> None:
    csr = csr_of(Ed25519PrivateKey.generate())
    token = office.token(expires_in_s=60)
    assert office.refusal(f"nonsense.{office.keys.ca_digest}", csr) == "enrollment.wrong_token"
    assert office.refusal(token.partition(".")[0], csr) == "enrollment.other_fleet"
    assert office.refusal(f"{token.partition('.')[0]}.{'0' * 64}", csr) == "enrollment.other_fleet"
    assert office.refusal(token, csr, datetime.now(UTC) + timedelta(seconds=61)) == "enrollment.token_expired"
    assert office.counts() == (0, 0)


@pytest.mark.parametrize("csr", ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"])
def test_enroll_when_csr_does_not_parse_then_is_refused(office: Office, csr: str) -> None:
    assert office.refusal(office.token(), csr) == "csr.invalid"
    assert office.counts() == (0, 0)


def test_enroll_when_key_is_of_another_kind_then_is_refused(office: Office) -> None:
    assert office.refusal(office.token(), csr_of(ec.generate_private_key(ec.SECP256R1()))) == "csr.invalid"


def test_machine_when_the_token_needs_approval_then_waits_and_asks_again_without_spending(office: Office) -> None:
    token, csr = office.token(needs_approval=True), csr_of(Ed25519PrivateKey.generate())
    asked = office.pending(token, csr)
    assert (asked.code, office.pending(token, csr).device_id) == ("enrollment.needs_approval", asked.device_id)
    office.change(identity.approve, asked.device_id)
    assert office.enroll(token, csr).device_id == asked.device_id
    assert office.counts() == (1, 1)


def test_machine_when_turned_away_then_is_refused_for_good(office: Office) -> None:
    token, csr = office.token(needs_approval=True), csr_of(Ed25519PrivateKey.generate())
    office.change(identity.retire, office.pending(token, csr).device_id, "not ours")
    assert office.refusal(token, csr) == "device.retired"


def test_machine_when_installed_anew_then_claims_its_device_and_a_merge_keeps_the_history(office: Office) -> None:
    token = office.token(max_uses=2, labels={"site": "lyon"})
    old = office.enroll(token, csr_of(Ed25519PrivateKey.generate()), hardware_id="h1")
    with office.database.transaction() as session:
        session.get_one(DeviceRow, old.device_id).session = 57
    key = Ed25519PrivateKey.generate()
    claim = office.pending(token, csr_of(key), hardware_id="h1")
    assert (claim.code, old.device_id in claim.message) == ("enrollment.claims_device", True)
    office.change(identity.merge, claim.device_id)
    merged = office.enroll(token, csr_of(key), hardware_id="h1")
    assert (merged.device_id, merged.session_floor) == (old.device_id, 57)
    assert office.device(old.device_id).public_key == key.public_key().public_bytes_raw()
    assert office.revoked() == [old.device_id]
    assert office.counts() == (1, 2)


def test_machine_when_it_only_looks_like_a_known_one_then_can_be_a_device_of_its_own(office: Office) -> None:
    token = office.token(max_uses=2)
    old = office.enroll(token, csr_of(Ed25519PrivateKey.generate()), hardware_id="h1")
    csr = csr_of(Ed25519PrivateKey.generate())
    claim = office.pending(token, csr, hardware_id="h1")
    office.change(identity.approve, claim.device_id)
    assert office.enroll(token, csr, hardware_id="h1").device_id == claim.device_id != old.device_id
    assert office.counts() == (2, 2)


def test_merge_when_the_machine_claims_nobody_then_is_refused(office: Office) -> None:
    pending = office.pending(office.token(needs_approval=True), csr_of(Ed25519PrivateKey.generate()))
    with pytest.raises(Conflict) as caught:
        office.change(identity.merge, pending.device_id)
    assert caught.value.code == "device.no_claim"


def test_certificate_when_renewed_then_is_for_the_same_key_and_no_other(office: Office) -> None:
    key = Ed25519PrivateKey.generate()
    device_id = office.enroll(office.token(), csr_of(key)).device_id
    with office.database.transaction() as session:
        request = RenewRequest(csr=csr_of(key, name="d-somebodyelse222"))
        answer = enrollment.renew(session, office.keys, office.settings, device_id, request, utc_now())
    certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
    assert certificate.subject.rfc4514_string() == f"CN={device_id}"
    assert answer.renew_after_s == pytest.approx(20 * 86_400, abs=60)
    with office.database.transaction() as session, pytest.raises(Forbidden) as caught:
        request = RenewRequest(csr=csr_of(Ed25519PrivateKey.generate()))
        enrollment.renew(session, office.keys, office.settings, device_id, request, utc_now())
    assert caught.value.code == "renew.other_key"


def test_device_when_suspended_and_activated_then_its_old_certificates_stay_revoked(office: Office) -> None:
    token, csr = office.token(), csr_of(Ed25519PrivateKey.generate())
    device_id = office.enroll(token, csr).device_id
    office.change(identity.suspend, device_id, "lent out")
    device = office.device(device_id)
    assert (device.state, device.state_reason, device.session_must_end) == ("suspended", "lent out", True)
    assert office.refusal(token, csr) == "device.suspended"
    office.change(identity.activate, device_id)
    office.enroll(token, csr)
    assert office.revoked() == [device_id]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (identity.approve, "device.not_pending"),
        (identity.activate, "device.not_suspended"),
        (identity.merge, "device.no_claim"),
    ],
)
def test_active_device_when_changed_as_if_it_were_not_then_conflicts(
    office: Office, change: Callable[..., DeviceRow], code: str
) -> None:
    device_id = office.enroll(office.token(), csr_of(Ed25519PrivateKey.generate())).device_id
    with pytest.raises(Conflict) as caught:
        office.change(change, device_id)
    assert caught.value.code == code


def test_keys_when_opened_again_then_are_the_same_and_private(tmp_path: Path) -> None:
    first, second = Keys.open(tmp_path), Keys.open(tmp_path)
    assert (first.ca_digest, first.controller_keys) == (second.ca_digest, second.controller_keys)
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("ca.key", "ca.pem", "signing.key", "url.key"), 0
    )
