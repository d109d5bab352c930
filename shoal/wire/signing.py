"""Ed25519 over exact bytes: keys, key ids, signing and verifying. Where keys are kept is not decided here.

A signature covers `shoal/1\\n<context>\\n<body>`; the context is the MQTT topic, or for an HTTP request its method,
path and time, so that what was said in one place cannot be replayed in another.
"""

import base64
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shoal.wire.errors import WireError

_DOMAIN: Final = b"shoal/1\n"


def raw_public_key(key: Ed25519PublicKey) -> bytes:
    """Give the 32 bytes of a public key."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id_of(public_key: bytes) -> str:
    """Name a public key: the first 16 hexadecimal digits of its sha256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def sign(key: Ed25519PrivateKey, context: str, body: str) -> str:
    """Sign `body` as said in `context`; gives the signature in base64."""
    return base64.b64encode(key.sign(_signed_bytes(context, body))).decode()


def verify(public_key: bytes, context: str, body: str, signature: str) -> None:
    """Check a signature.

    Raises:
        WireError: `signature.invalid` if it is not the key owner's over this body in this context.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            base64.b64decode(signature, validate=True), _signed_bytes(context, body)
        )
    except (InvalidSignature, ValueError) as error:
        raise WireError(
            "signature.invalid", "The signature does not fit the message, its topic and its key."
        ) from error


def _signed_bytes(context: str, body: str) -> bytes:
    return _DOMAIN + context.encode() + b"\n" + body.encode()
