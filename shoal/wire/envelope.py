"""The envelope around every message, and the one place where bytes become messages.

`{v, kind, key_id, body, signature}`: `body` is JSON text carried as one string, so that a signature covers exact
bytes. Telemetry alone is unsigned (`key_id` and `signature` empty): nothing rests on it. The body repeats its kind, so
that a signed body cannot be passed off as another kind.

Not here: which key belongs to whom (the gateway and the agent know that).
"""

from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shoal.wire import signing
from shoal.wire.devices import Birth, ControllerState, FactsReport, Refusal, Will
from shoal.wire.errors import WireError
from shoal.wire.executions import Cancel, ExecutionReport, Offer
from shoal.wire.incremental import Evidence
from shoal.wire.rollouts import Desired, Receipt, Reported
from shoal.wire.telemetry import Telemetry

MINOR_VERSION: Final = 0

Message = (
    Birth
    | Will
    | FactsReport
    | Refusal
    | ControllerState
    | Cancel
    | ExecutionReport
    | Offer
    | Evidence
    | Desired
    | Receipt
    | Reported
    | Telemetry
)

_TYPES: Final[dict[str, type[Message]]] = {
    "birth": Birth,
    "will": Will,
    "facts": FactsReport,
    "refusal": Refusal,
    "controller_state": ControllerState,
    "cancel": Cancel,
    "execution_report": ExecutionReport,
    "offer": Offer,
    "evidence": Evidence,
    "desired": Desired,
    "receipt": Receipt,
    "reported": Reported,
    "telemetry": Telemetry,
}
_KINDS: Final = {message_type: kind for kind, message_type in _TYPES.items()}
UNSIGNED_KINDS: Final = frozenset({"telemetry"})

# Largest envelope of each kind, in bytes. What is not listed may have 16 KiB.
_LIMITS: Final = {"facts": 64 * 1024, "desired": 256 * 1024, "reported": 64 * 1024, "offer": 64 * 1024}
_DEFAULT_LIMIT: Final = 16 * 1024
MAX_ENVELOPE_BYTES: Final = max(_LIMITS.values())


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it stands on the wire and in journals."""

    v: int
    kind: str
    body: str
    key_id: str = ""
    signature: str = ""


_decoder: Final = msgspec.json.Decoder(Envelope)


def seal(message: Message, *, topic: str, key: Ed25519PrivateKey | None = None) -> bytes:
    """Put a message into an envelope, signed for `topic` if its kind is a signed one.

    Raises:
        ValueError: A signed kind without a key, or a message above its size limit: a defect of the caller.
    """
    kind = _KINDS[type(message)]
    return seal_text(kind, msgspec.json.encode(message).decode(), topic=topic, key=key)


def seal_text(kind: str, body: str, *, topic: str, key: Ed25519PrivateKey | None = None) -> bytes:
    """Like `seal`, for a body that is JSON text already (as an outbox keeps it)."""
    if kind in UNSIGNED_KINDS:
        envelope = Envelope(v=MINOR_VERSION, kind=kind, body=body)
    elif key is None:
        raise ValueError(f"a message of kind {kind} must be signed")
    else:
        envelope = Envelope(
            v=MINOR_VERSION,
            kind=kind,
            body=body,
            key_id=signing.key_id_of(signing.raw_public_key(key.public_key())),
            signature=signing.sign(key, topic, body),
        )
    payload = msgspec.json.encode(envelope)
    if len(payload) > limit_of(kind):
        raise ValueError(f"a message of kind {kind} has {len(payload)} bytes; at most {limit_of(kind)} are allowed")
    return payload


def open_envelope(payload: bytes, *, topic: str, public_key_of: Callable[[str], bytes | None]) -> Message:
    """Check an envelope and give its message.

    Args:
        payload: The bytes as received.
        topic: The topic on which they came.
        public_key_of: Gives the sender's public key for a key id, None if that key may not speak here.

    Raises:
        WireError: `message.too_large`, `message.malformed`, `message.unknown_kind`, `signature.missing`,
            `signature.unknown_key`, `signature.invalid`.
    """
    if len(payload) > MAX_ENVELOPE_BYTES:
        raise WireError("message.too_large", f"A message has at most {MAX_ENVELOPE_BYTES} bytes.")
    try:
        envelope = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: 10,000 brackets
        raise WireError("message.malformed", f"The envelope does not parse: {error}") from error
    message_type = _TYPES.get(envelope.kind)
    if message_type is None:
        raise WireError("message.unknown_kind", f"The kind {envelope.kind[:40]!r} is not known.")
    if len(payload) > limit_of(envelope.kind):
        raise WireError("message.too_large", f"{envelope.kind} has at most {limit_of(envelope.kind)} bytes.")
    if envelope.kind not in UNSIGNED_KINDS:
        _verify(envelope, topic, public_key_of)
    return decode_body(envelope.kind, envelope.body)


def decode_body(kind: str, body: str) -> Message:
    """Decode a body whose signature was verified.

    Raises:
        WireError: `message.malformed`, `message.unknown_kind`.
    """
    message_type = _TYPES.get(kind)
    if message_type is None:
        raise WireError("message.unknown_kind", f"The kind {kind[:40]!r} is not known.")
    try:
        message: Message = msgspec.json.decode(body, type=message_type)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise WireError("message.malformed", f"The body of {kind} does not parse: {error}") from error
    return message


def limit_of(kind: str) -> int:
    """Give the largest envelope of a kind in bytes."""
    return _LIMITS.get(kind, _DEFAULT_LIMIT)


def _verify(envelope: Envelope, topic: str, public_key_of: Callable[[str], bytes | None]) -> None:
    if not envelope.signature:
        raise WireError("signature.missing", f"A message of kind {envelope.kind} must be signed.")
    public_key = public_key_of(envelope.key_id)
    if public_key is None:
        raise WireError("signature.unknown_key", "The key that signed is not one that may speak here.")
    signing.verify(public_key, topic, envelope.body, envelope.signature)
