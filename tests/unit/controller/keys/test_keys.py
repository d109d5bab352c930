"""The CA, Shoal's own and an operator's: what it issues is verified by OpenSSL; what is no CA is refused by name."""

import socket
import ssl
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from controller.errors import ShoalError
from controller.keys import Keys, read_ca_digest

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
NOW = datetime.now(UTC)
DEVICE = "d-abcdefghijklmno2"
KINDS: dict[str, Callable[[], Key]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
}
USAGES = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": True,
    "crl_sign": True,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass
class Ca:
    """An operator's CA."""

    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def algorithm_of(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def make_ca(
    name: str,
    kind: str = "p256",
    parent: Ca | None = None,
    *,
    is_ca: bool = True,
    path_length: int | None = None,
    days: int = 365,
    begins: datetime = NOW - timedelta(days=2),
    crl_sign: bool = True,
) -> Ca:
    key = KINDS[kind]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if parent is None else parent.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if parent is None else parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
        .add_extension(x509.KeyUsage(**{**USAGES, "crl_sign": crl_sign, "key_cert_sign": is_ca}), critical=True)
        # Not the digest that the library would take: other software computes it in other ways.
        .add_extension(x509.SubjectKeyIdentifier(f"id of {name}".encode()), critical=False)
    )
    if parent is not None:
        identifier = parent.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    return Ca(key, builder.sign(signer, algorithm_of(signer)))


def private_pem(key: Key, passphrase: bytes | None = None) -> bytes:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def keys_of(state: Path, key: Key, *chain: Ca) -> Keys:
    (state / "ca.key").write_bytes(private_pem(key))
    (state / "ca.pem").write_bytes(b"".join(ca.pem for ca in chain))
    return Keys.open(state)


def csr_of(key: Key, name: str = "", *extensions: x509.ExtensionType) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, algorithm_of(key)).public_bytes(Encoding.PEM).decode()


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Make a real connection; gives the name that the server reads from the client's certificate."""
    seen: list[str] = []

    def serve() -> None:
        with listening, listening.accept()[0] as plain, server.wrap_socket(plain, server_side=True) as connection:
            subject = connection.getpeercert()["subject"]  # type: ignore[index]
            seen.append(str(subject[0][0][1]))
            connection.sendall(b"1")

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listening.getsockname(), timeout=10) as plain,
            client.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            assert connection.recv(1) == b"1"
    finally:
        thread.join(10)
    return seen[0]


def trusting(purpose: ssl.Purpose, ca: bytes, *, is_partial: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cadata=ca.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN if is_partial else ssl.VERIFY_DEFAULT
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def device_certificate(keys: Keys, folder: Path) -> tuple[Path, Path]:
    key = ed25519.Ed25519PrivateKey.generate()
    issued = keys.issue_device_certificate(csr_of(key), DEVICE, timedelta(days=30), NOW)
    certificate_path, key_path = folder / "device.pem", folder / "device.key"
    certificate_path.write_text(issued.pem)
    key_path.write_bytes(private_pem(key))
    return certificate_path, key_path


@pytest.mark.parametrize("kind", KINDS)
def test_ca_when_of_each_kind_then_both_ends_verify_what_it_issues(tmp_path: Path, kind: str) -> None:
    ca = make_ca("Operator", kind)
    keys = keys_of(tmp_path, ca.key, ca)
    server = trusting(ssl.Purpose.CLIENT_AUTH, ca.pem, is_partial=False)
    server.load_cert_chain(*keys.issue_server_certificate(["127.0.0.1"]))
    client = trusting(ssl.Purpose.SERVER_AUTH, ca.pem, is_partial=False)
    client.load_cert_chain(*device_certificate(keys, tmp_path))
    assert shake_hands(server, client) == DEVICE


@pytest.mark.parametrize("trusted", ["root", "issuing"])
def test_intermediate_when_either_end_of_the_chain_is_trusted_then_the_server_is_verified(
    tmp_path: Path, trusted: str
) -> None:
    root = make_ca("Root", "rsa2048")
    middle = make_ca("Middle", "p384", root, path_length=1)
    issuing = make_ca("Issuing", "p256", middle, path_length=0)
    keys = keys_of(tmp_path, issuing.key, issuing, middle, root)
    # The server trusts the bundle, as Mosquitto does, and the device shows its own certificate only.
    server = trusting(ssl.Purpose.CLIENT_AUTH, keys.ca_pem.encode(), is_partial=False)
    server.load_cert_chain(*keys.issue_server_certificate(["127.0.0.1"]))
    anchor = {"root": root, "issuing": issuing}[trusted]
    client = trusting(ssl.Purpose.SERVER_AUTH, anchor.pem, is_partial=trusted == "issuing")
    client.load_cert_chain(*device_certificate(keys, tmp_path))
    assert shake_hands(server, client) == DEVICE
    assert keys.ca_digest == read_ca_digest(tmp_path) == issuing.certificate.fingerprint(hashes.SHA256()).hex()


def test_own_ca_when_opened_again_then_is_the_same(tmp_path: Path) -> None:
    assert Keys.open(tmp_path).ca_pem == Keys.open(tmp_path).ca_pem
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


ROOT, OTHER = make_ca("Root"), make_ca("Other")
ISSUING = make_ca("Issuing", parent=ROOT)
SHORT = make_ca("Short", path_length=0)
LEAF = make_ca("Leaf", parent=ROOT, is_ca=False)
MUTE = make_ca("Mute", crl_sign=False)
OLD = make_ca("Old", begins=NOW - timedelta(days=30), days=10)
YOUNG = make_ca("Young", begins=NOW + timedelta(days=2))
BELOW_SHORT = make_ca("Below", parent=SHORT)
BELOW_OLD = make_ca("Below", parent=OLD)


@pytest.mark.parametrize(
    ("key", "chain", "code"),
    [
        (OTHER.key, (ROOT,), "keys.ca_mismatch"),
        (ISSUING.key, (ROOT, ISSUING), "keys.ca_mismatch"),
        (LEAF.key, (LEAF, ROOT), "keys.not_a_ca"),
        (BELOW_SHORT.key, (BELOW_SHORT, ROOT, SHORT), "keys.chain_incomplete"),
        (MUTE.key, (MUTE,), "keys.not_a_ca"),
        (OLD.key, (OLD,), "keys.ca_expired"),
        (YOUNG.key, (YOUNG,), "keys.ca_expired"),
        (BELOW_OLD.key, (BELOW_OLD, OLD), "keys.ca_expired"),
        (ISSUING.key, (ISSUING,), "keys.chain_incomplete"),
        (ISSUING.key, (ISSUING, OTHER), "keys.chain_incomplete"),
        (ROOT.key, (ROOT, OTHER), "keys.chain_incomplete"),
        (ROOT.key, (ROOT,) * 7, "keys.unsupported"),
        (ROOT.key, (), "keys.unsupported"),
    ],
)
def test_ca_when_it_cannot_issue_then_is_refused_by_name(
    tmp_path: Path, key: Key, chain: tuple[Ca, ...], code: str
) -> None:
    with pytest.raises(ShoalError) as caught:
        keys_of(tmp_path, key, *chain)
    assert caught.value.code == code


def test_parent_when_its_path_length_forbids_two_below_then_is_refused(tmp_path: Path) -> None:
    middle = make_ca("Middle", parent=SHORT)
    issuing = make_ca("Issuing", parent=middle)
    with pytest.raises(ShoalError) as caught:
        keys_of(tmp_path, issuing.key, issuing, middle, SHORT)
    assert caught.value.code == "keys.not_a_ca"


@pytest.mark.parametrize(
    "pem",
    [
        private_pem(rsa.generate_private_key(65537, 1024)),
        private_pem(ec.generate_private_key(ec.SECP521R1())),
        private_pem(ROOT.key, b"secret"),
        b"nothing",
    ],
    ids=["rsa1024", "p521", "passphrase", "junk"],
)
def test_ca_key_when_of_another_kind_then_is_refused(tmp_path: Path, pem: bytes) -> None:
    (tmp_path / "ca.key").write_bytes(pem)
    with pytest.raises(ShoalError) as caught:
        Keys.open(tmp_path)
    assert caught.value.code == "keys.unsupported"


def test_ca_when_its_key_is_missing_then_no_other_is_made(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    with pytest.raises(ShoalError) as caught:
        Keys.open(tmp_path)
    assert caught.value.code == "keys.ca_mismatch"
    assert not (tmp_path / "ca.key").exists()


def test_certificate_when_asked_for_longer_than_the_ca_lives_then_ends_with_it(tmp_path: Path) -> None:
    ca = make_ca("Operator", days=10)
    issued = keys_of(tmp_path, ca.key, ca).issue_device_certificate(
        csr_of(ed25519.Ed25519PrivateKey.generate()), DEVICE, timedelta(days=30), NOW
    )
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert issued.expires_at == certificate.not_valid_after_utc == ca.certificate.not_valid_after_utc
    assert int(issued.serial, 16) == certificate.serial_number


def test_certificate_when_the_ca_has_ended_meanwhile_then_is_refused(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    later = NOW + timedelta(days=4000)
    with pytest.raises(ShoalError) as caught:
        keys.issue_device_certificate(csr_of(ed25519.Ed25519PrivateKey.generate()), DEVICE, timedelta(days=30), later)
    assert caught.value.code == "keys.ca_expired"


def test_csr_when_it_wants_to_be_somebody_then_only_its_key_counts(tmp_path: Path) -> None:
    wanted = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("controller")]),
    )
    key = ed25519.Ed25519PrivateKey.generate()
    issued = Keys.open(tmp_path).issue_device_certificate(
        csr_of(key, "controller-1", *wanted), DEVICE, timedelta(days=30), NOW
    )
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE}"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert issued.public_key == key.public_key().public_bytes_raw()


def broken_csr() -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    request = x509.load_pem_x509_csr(csr_of(key).encode())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "csr",
    [csr_of(KINDS["rsa2048"]()), csr_of(KINDS["p256"]()), broken_csr(), "x" * 10_000, "", "é"],
    ids=["rsa", "ec", "broken signature", "junk", "empty", "not ascii"],
)
def test_csr_when_bad_then_is_refused(tmp_path: Path, csr: str) -> None:
    with pytest.raises(ShoalError) as caught:
        Keys.open(tmp_path).issue_device_certificate(csr, DEVICE, timedelta(days=30), NOW)
    assert caught.value.code == "csr.invalid"


def test_takeover_when_over_then_leaves_no_file(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    before = set(tmp_path.rglob("*"))
    with keys.takeover_certificate(DEVICE, NOW) as (certificate_path, key_path):
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
        assert certificate.subject.rfc4514_string() == f"CN={DEVICE}"
        assert certificate.not_valid_after_utc <= NOW + timedelta(minutes=5)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_revocation_list_when_signed_then_is_the_cas_and_later_than_the_one_before(tmp_path: Path, kind: str) -> None:
    ca = make_ca("Operator", kind)
    keys = keys_of(tmp_path, ca.key, ca)
    issued = keys.issue_device_certificate(
        csr_of(ed25519.Ed25519PrivateKey.generate()), DEVICE, timedelta(days=30), NOW
    )
    first, second = (
        x509.load_pem_x509_crl(keys.sign_revocation_list([(issued.serial, NOW)], number, NOW).encode())
        for number in (7, 8)
    )
    public_key = ca.certificate.public_key()
    assert first.is_signature_valid(public_key)  # type: ignore[arg-type]
    assert first.get_revoked_certificate_by_serial_number(int(issued.serial, 16)) is not None
    assert second.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 8
    identifier = first.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == b"id of Operator"
    assert first.last_update_utc < second.last_update_utc < NOW  # within one second OpenSSL would follow the first
    assert first.next_update_utc is not None
    assert first.next_update_utc > NOW + timedelta(days=364)
