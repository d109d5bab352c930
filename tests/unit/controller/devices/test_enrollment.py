"""Enrolment: one key is one device, tokens are counted once, and every refusal has a name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import func, select

from controller.db import Base, Database, utc_now
from controller.devices import enrollment
from controller.devices.tables import DeviceRow, EnrollmentTokenRow
from controller.errors import ShoalError
from controller.keys import Keys
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import topics
from shoal.wire.devices import EnrollAnswer, EnrollRequest, Facts

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

    def enroll(self, token: str, csr: str, now: datetime | None = None) -> EnrollAnswer:
        with self.database.transaction() as session:
            request = EnrollRequest(token=token, csr=csr, facts=FACTS)
            return enrollment.enroll(session, self.keys, self.settings, request, now or utc_now())

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
    assert office.refusal("nonsense.00", csr) == "enrollment.wrong_token"
    assert office.refusal(token, csr, datetime.now(UTC) + timedelta(seconds=61)) == "enrollment.token_expired"
    assert office.counts() == (0, 0)


@pytest.mark.parametrize("csr", ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"])
def test_enroll_when_csr_does_not_parse_then_is_refused(office: Office, csr: str) -> None:
    assert office.refusal(office.token(), csr) == "csr.invalid"
    assert office.counts() == (0, 0)


def test_enroll_when_key_is_of_another_kind_then_is_refused(office: Office) -> None:
    assert office.refusal(office.token(), csr_of(ec.generate_private_key(ec.SECP256R1()))) == "csr.invalid"


def test_keys_when_opened_again_then_are_the_same_and_private(tmp_path: Path) -> None:
    first, second = Keys.open(tmp_path), Keys.open(tmp_path)
    assert (first.ca_digest, first.controller_keys) == (second.ca_digest, second.controller_keys)
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("ca.key", "ca.pem", "signing.key", "url.key"), 0
    )
