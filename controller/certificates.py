"""An X.509 authority, what it certifies, and what it revokes. No files here: `keys` keeps them.

The authority is Shoal's own, made at the first start, or an operator's: a CA, or an intermediate with its parents up to
a self-signed root. It may be Ed25519, EC or RSA; the keys that it certifies are Ed25519 throughout.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.errors import Invalid, Unavailable

AuthorityKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

BACKDATED: Final = timedelta(hours=1)  # devices' clocks run behind
MAX_BUNDLE_BYTES: Final = 32 * 1024  # devices take an answer of 64 KiB
_OWN_LIFETIME: Final = timedelta(days=3650)
# OpenSSL refuses *every* certificate of an issuer whose revocation list has expired, so a list that is not replaced
# for a while must not stop the fleet: freshness comes from the list's number, not from its end.
_LIST_LIFETIME: Final = timedelta(days=365)
_LONGEST_CHAIN: Final = 6
_LEAST_RSA_BITS: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_MAX_CSR_CHARS: Final = 8 * 1024


@dataclass(frozen=True)
class Authority:
    """A key that may certify, and its certificates: its own first, a self-signed root last."""

    key: AuthorityKey
    chain: tuple[x509.Certificate, ...]

    @classmethod
    def open(cls, key: AuthorityKey, bundle_pem: bytes, *, place: str, now: datetime) -> Self:
        """Check that a bundle of certificates makes a key an authority now.

        Args:
            place: The bundle's file, for the sentences.

        Raises:
            Invalid: `keys.unsupported`, `keys.ca_mismatch`, `keys.not_a_ca`, `keys.ca_expired`,
                `keys.chain_incomplete`.
        """
        try:
            chain = tuple(x509.load_pem_x509_certificates(bundle_pem))
            public_key = chain[0].public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Invalid("keys.unsupported", f"{place} holds no certificates (PEM) that can be used.") from error
        if len(chain) > _LONGEST_CHAIN or len(bundle_pem) > MAX_BUNDLE_BYTES:
            message = f"{place} holds more than {_LONGEST_CHAIN} certificates or {MAX_BUNDLE_BYTES // 1024} KiB: leave "
            raise Invalid("keys.unsupported", f"{message}only the issuing CA and its parents in it.")
        if _raw(public_key) != _raw(key.public_key()):
            message = f"The first certificate in {place} is not that of ca.key: put the CA that issues first, then its "
            raise Invalid("keys.ca_mismatch", f"{message}parents, and its own key into ca.key.")
        _check_chain(chain, place, now)
        _check_issuer(chain[0], place)
        return cls(key, chain)

    @classmethod
    def own(cls, key: AuthorityKey, now: datetime) -> Self:
        """Make a CA of Shoal's own."""
        name = _name("Shoal CA")
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + _OWN_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_CA_USAGE, critical=True)
        )
        return cls(key, (builder.sign(key, _digest_for(key)),))

    @property
    def bundle_pem(self) -> bytes:
        """All of its certificates."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    @property
    def below_root_pem(self) -> bytes:
        """What a server or client shows beside its own certificate, so that a peer which trusts the root finds it."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain[:-1])

    @property
    def digest(self) -> str:
        """The sha256 of its own certificate (DER)."""
        return hashlib.sha256(self.chain[0].public_bytes(Encoding.DER)).hexdigest()

    def issue(
        self,
        key: Ed25519PublicKey,
        common_name: str,
        *,
        now: datetime,
        lifetime: timedelta,
        server_names: Sequence[str],
    ) -> x509.Certificate:
        """Certify a key, never beyond the authority's own end.

        Args:
            server_names: Host names and addresses of a TLS server; none makes it a client's certificate.

        Raises:
            Unavailable: `keys.ca_expired`.
        """
        end = min(certificate.not_valid_after_utc for certificate in self.chain)
        if end <= now:
            raise Unavailable("keys.ca_expired", f"The CA ended at {end:%Y-%m-%d}: renew ca.pem, and start again.")
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.chain[0].subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min((now + lifetime).replace(microsecond=0), end))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        if server_names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in server_names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self.key, _digest_for(self.key))

    def revoke(self, serials: Sequence[tuple[str, datetime]], *, number: int, made_at: datetime, now: datetime) -> str:
        """Sign the list of revoked certificates, PEM.

        Args:
            serials: Hexadecimal, and when each was revoked.
            made_at: Of two lists OpenSSL follows the one that was made later, not the one with the higher number.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.chain[0].subject)
            .last_update(made_at)
            .next_update(now + _LIST_LIFETIME)
            .add_extension(self._key_identifier(), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial, at in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(at).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self.key, _digest_for(self.key)).public_bytes(Encoding.PEM).decode()

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        # The identifier as the CA's certificate says it: other software computes it in other ways.
        known = self.chain[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known.value)


def load_authority_key(pem: bytes, place: str) -> AuthorityKey:
    """Read a key that may be an authority's.

    Raises:
        Invalid: `keys.unsupported`.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{place} is no private key (PEM, without a passphrase) that can be used."
        raise Invalid("keys.unsupported", message) from error
    is_fit = (
        isinstance(key, Ed25519PrivateKey)
        or (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES))
        or (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS)
    )
    if not is_fit:
        message = f"{place} must be an Ed25519 key, EC P-256 or P-384, or RSA of at least {_LEAST_RSA_BITS} bits."
        raise Invalid("keys.unsupported", message)
    assert isinstance(key, AuthorityKey)
    return key


def public_key_of_csr(csr_pem: str) -> Ed25519PublicKey:
    """Give the key that a CSR proves to hold.

    Raises:
        Invalid: `csr.invalid` for what does not parse, is not signed by its key, or is not Ed25519.
    """
    if len(csr_pem) > _MAX_CSR_CHARS:
        raise Invalid("csr.invalid", f"A certificate signing request has at most {_MAX_CSR_CHARS} characters.")
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        if not isinstance(key, Ed25519PublicKey) or not csr.is_signature_valid:
            raise Invalid("csr.invalid", "The CSR must be signed by its own Ed25519 key.")
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Invalid("csr.invalid", "The certificate signing request does not parse.") from error
    return key


def _check_chain(chain: Sequence[x509.Certificate], place: str, now: datetime) -> None:
    for below, certificate in enumerate(chain):
        name = certificate.subject.rfc4514_string()
        _check_may_certify(certificate, below, f"{name} in {place}")
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            message = f"{name} in {place} is good from {certificate.not_valid_before_utc:%Y-%m-%d} until "
            message += f"{certificate.not_valid_after_utc:%Y-%m-%d} only: renew it, or mend this machine's clock."
            raise Invalid("keys.ca_expired", message)
        parent = chain[min(below + 1, len(chain) - 1)]
        try:
            certificate.verify_directly_issued_by(parent)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            message = (
                f"{name} in {place} is not issued by the certificate after it: put the issuing CA first, then each"
            )
            raise Invalid("keys.chain_incomplete", f"{message} one's parent, up to a self-signed root.") from error


def _check_may_certify(certificate: x509.Certificate, below: int, name: str) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = _usage_of(certificate)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Invalid("keys.not_a_ca", f"{name} is not a CA's certificate.") from error
    is_short = constraints.path_length is not None and constraints.path_length < below
    if not constraints.ca or is_short or (usage is not None and not usage.key_cert_sign):
        raise Invalid("keys.not_a_ca", f"{name} may not issue what it would have to issue here (basic constraints).")


def _check_issuer(certificate: x509.Certificate, place: str) -> None:
    """Refuse what strict verifiers (Python 3.13's default) would refuse on devices later."""
    usage = _usage_of(certificate)
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise Invalid("keys.not_a_ca", f"The first certificate in {place} has no subject key identifier.") from error
    if usage is None or not usage.crl_sign:
        message = f"The first certificate in {place} must have the key usages keyCertSign and cRLSign: Shoal revokes."
        raise Invalid("keys.not_a_ca", message)


def _usage_of(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _raw(key: object) -> bytes | None:
    if isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return None


def _digest_for(key: AuthorityKey) -> hashes.SHA256 | None:
    return None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
