"""docs/protocol.md states the wire as numbered MUSTs; each test here names the one that it holds."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shoal.wire import envelope, signing, tensors, topics
from shoal.wire.devices import Will
from shoal.wire.errors import WireError
from shoal.wire.executions import ExecutionReport, ReportState
from shoal.wire.rollouts import Desired
from shoal.wire.telemetry import Telemetry

DEVICE = "d-abcdefghijklmno2"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TOPIC = topics.down(DEVICE, "desired")


def key_of(key: Ed25519PrivateKey) -> Callable[[str], bytes | None]:
    public = signing.raw_public_key(key.public_key())
    return {signing.key_id_of(public): public}.get


def refusal_of(payload: bytes, topic: str = TOPIC) -> str:
    with pytest.raises(WireError) as caught:
        envelope.open_envelope(payload, topic=topic, public_key_of=key_of(KEY))
    return caught.value.code


def test_message_when_sealed_and_opened_then_is_the_same() -> None:
    desired = Desired(epoch=1, version=7)
    payload = envelope.seal(desired, topic=TOPIC, key=KEY)
    assert envelope.open_envelope(payload, topic=TOPIC, public_key_of=key_of(KEY)) == desired


def test_golden_bytes_when_opened_by_this_version_then_are_understood() -> None:
    """Bytes made by minor version 0, kept here for ever."""
    payload = (
        b'{"v":0,"kind":"desired","body":"{\\"kind\\":\\"desired\\",\\"epoch\\":1,\\"version\\":2,\\"variants'
        b'\\":[],\\"monitors\\":[]}","key_id":"56475aa75463474c","signature":"0+jJlzBHRZUSJ+1YJ5H/5AA00'
        b'tlhWb6xU+uRaI6MnH0CkT45b2yDXnOvkxQ9bVe5vr8Btb/XLHmn/cUPSQWtCA=="}'
    )
    opened = envelope.open_envelope(payload, topic=TOPIC, public_key_of=key_of(KEY))
    assert opened == Desired(epoch=1, version=2)


def test_signature_when_replayed_on_another_topic_then_is_refused() -> None:
    payload = envelope.seal(Desired(epoch=1, version=1), topic=TOPIC, key=KEY)
    assert refusal_of(payload, topics.down("d-bbbbbbbbbbbbbbb2", "desired")) == "signature.invalid"


def test_signature_when_made_by_a_foreign_key_then_is_refused() -> None:
    payload = envelope.seal(Desired(epoch=1, version=1), topic=TOPIC, key=Ed25519PrivateKey.generate())
    assert refusal_of(payload) == "signature.unknown_key"


def test_signed_kind_when_unsigned_then_is_refused() -> None:
    payload = json.dumps({"v": 0, "kind": "desired", "body": '{"kind":"desired","epoch":1,"version":1}'}).encode()
    assert refusal_of(payload) == "signature.missing"


def test_body_when_passed_off_as_another_kind_then_is_refused() -> None:
    """The signature is right for the body; the envelope lies about its kind."""
    report = ExecutionReport(id="1-1", session=1, sequence=1, execution_id="e", attempt=0, state=ReportState.SUCCEEDED)
    sealed = json.loads(envelope.seal(report, topic=TOPIC, key=KEY))
    sealed["kind"] = "desired"
    assert refusal_of(json.dumps(sealed).encode()) == "message.malformed"


def test_unknown_field_when_received_then_is_ignored() -> None:
    body = '{"kind":"will","session":1,"from_the_future":[1]}'
    payload = envelope.seal_text("will", body, topic=TOPIC, key=KEY)
    opened = envelope.open_envelope(payload, topic=TOPIC, public_key_of=key_of(KEY))
    assert opened == Will(session=1)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "message.malformed"),
        (b"\xff\xfe", "message.malformed"),
        (b"[]", "message.malformed"),
        (b'{"v":0,"kind":"order","body":"{}"}', "message.unknown_kind"),
        (b'{"v":0,"kind":"telemetry","body":"{}"}', "message.malformed"),
        (b'{"v":0,"kind":"telemetry","body":"' + b"x" * 20_000 + b'"}', "message.too_large"),
        (b"x" * (envelope.MAX_ENVELOPE_BYTES + 1), "message.too_large"),
    ],
)
def test_bad_bytes_when_received_then_are_refused_by_name(payload: bytes, code: str) -> None:
    assert refusal_of(payload) == code


@given(st.binary(max_size=400))
def test_any_bytes_when_opened_then_only_wire_errors_come(payload: bytes) -> None:
    with pytest.raises(WireError):
        envelope.open_envelope(payload, topic=TOPIC, public_key_of=key_of(KEY))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "id",
    "session",
    "sequence",
    "at",
    "result",
    "state",
    "spec",
    "variants",
    "facts",
    "models",
    "slots",
    "golden",
)
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), ANY_JSON, max_size=8)


@given(st.sampled_from(sorted(envelope._TYPES)), BODIES, st.booleans())
def test_any_body_when_signed_then_is_a_message_or_refused_by_name(
    kind: str, body: dict[str, Any], says_its_kind: bool
) -> None:
    """A device, or a controller, that has its key and means ill."""
    text = json.dumps({**body, "kind": kind} if says_its_kind else body)
    payload = envelope.seal_text(kind, text, topic=TOPIC, key=KEY)
    try:
        opened = envelope.open_envelope(payload, topic=TOPIC, public_key_of=key_of(KEY))
    except WireError as error:
        assert error.code == "message.malformed"
    else:
        assert isinstance(opened, envelope._TYPES[kind])
        json.dumps(msgspec.to_builtins(opened))  # it can be kept


@given(st.sampled_from(["v", "kind", "key_id", "body", "signature", "more"]), ANY_JSON)
def test_any_field_when_changed_in_a_good_envelope_then_is_refused_by_name_or_changes_nothing(
    field: str, value: Any
) -> None:
    good = envelope.seal(Desired(epoch=1, version=7), topic=TOPIC, key=KEY)
    payload = json.dumps({**json.loads(good), field: value}).encode()
    try:
        opened = envelope.open_envelope(payload, topic=TOPIC, public_key_of=key_of(KEY))
    except WireError as error:
        assert error.code.partition(".")[0] in ("message", "signature")
    else:
        assert opened == Desired(epoch=1, version=7)


@given(st.binary(max_size=200), st.sampled_from(["", "F32", "I64", "BOOL", "BF16", "C64", "X"]), ANY_JSON, ANY_JSON)
def test_any_tensors_when_read_then_only_named_errors_come(data: bytes, dtype: str, shape: Any, offsets: Any) -> None:
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    for candidate in (data, len(header).to_bytes(8, "little") + header + data):
        try:
            tensors.decode_tensors(candidate)
        except WireError as error:
            assert error.code == "tensors.malformed"


@pytest.mark.parametrize("kind", sorted(envelope._TYPES))
def test_message_when_one_byte_over_its_kinds_limit_then_is_too_large(kind: str) -> None:
    sealed = json.dumps({"v": 0, "kind": kind, "body": "{}", "more": ""}).encode()
    padding = b"x" * (envelope.limit_of(kind) + 1 - len(sealed))
    assert refusal_of(sealed[:-2] + padding + sealed[-2:]) == "message.too_large"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'"', b"[{}, "])
def test_brackets_when_ten_thousand_deep_then_the_message_is_malformed(opening: bytes) -> None:
    """No parser survives these: what it raises must be a refusal, or the message would come again for ever."""
    assert refusal_of(b'{"v":0,"kind":"telemetry","body":"{}","more":' + opening * 2000) == "message.malformed"
    body = '{"kind":"telemetry","more":' + opening.decode() * 2000
    payload = envelope.seal_text("telemetry", body, topic=TOPIC)
    assert refusal_of(payload) == "message.malformed"


@given(st.text(max_size=80))
def test_any_text_when_parsed_as_a_topic_then_is_a_device_or_refused(text: str) -> None:
    try:
        parsed = topics.parse_up(text)
    except WireError as error:
        assert error.code == "topic.unknown"
    else:
        assert topics.up(parsed.device_id, parsed.channel) == text


@pytest.mark.parametrize(
    "text", ["d-abc", "d-ABCDEFGHIJKLMNO2", "d-abcdefghijklmno2/x", "d-+", "#", "d-" + "a" * 10_000, "d-🐟"]
)
def test_device_id_when_odd_then_is_none(text: str) -> None:
    assert not topics.is_device_id(text)


def test_count_when_negative_then_message_is_malformed() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"kind":"will","session":-1}', type=envelope._TYPES["will"])


UP = topics.up(DEVICE, "telemetry")


def telemetry(**fields: Any) -> bytes:
    body = {
        "kind": "telemetry",
        "id": "3-7",
        "session": 3,
        "sequence": 7,
        "begin": 1.7e9,
        "offsets": [0, 60],
        "series": {"cpu.ratio": [0.25, None]},
    }
    return envelope.seal_text("telemetry", json.dumps({**body, **fields}), topic=UP)


def test_golden_telemetry_when_opened_by_this_version_then_is_understood() -> None:
    """MUST 45, 48: bytes made by minor version 0, kept here for ever."""
    payload = (
        b'{"v":0,"kind":"telemetry","body":"{\\"kind\\":\\"telemetry\\",\\"id\\":\\"3-7\\",\\"session\\":3,\\"sequence'
        b'\\":7,\\"begin\\":1700000000.0,\\"offsets\\":[0.0,60.1],\\"series\\":{\\"cpu.ratio\\":[0.25,null],'
        b'\\"temperature.cpu_celsius\\":[51,51.5]},\\"clock_offset_s\\":-3.5,\\"dropped\\":2}",'
        b'"key_id":"","signature":""}'
    )
    assert envelope.open_envelope(payload, topic=UP, public_key_of=key_of(KEY)) == Telemetry(
        id="3-7",
        session=3,
        sequence=7,
        begin=1.7e9,
        offsets=[0.0, 60.1],
        series={"cpu.ratio": [0.25, None], "temperature.cpu_celsius": [51, 51.5]},
        clock_offset_s=-3.5,
        dropped=2,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"offsets": []},
        {"offsets": [0] * 241},
        {"offsets": [-1]},
        {"begin": -1},
        {"begin": 1e300},
        {"begin": None},
        {"series": {f"a{number}.ratio": [0.5] for number in range(97)}},
        {"series": {"Cpu.ratio": [0.5]}},
        {"series": {"cpu.ratio\n": [0.5]}},
        {"series": {"": [0.5]}},
        {"series": {"a" * 97: [0.5]}},
        {"series": {"cpu.ratio": ["0.5"]}},
        {"series": {"cpu.ratio": [float("nan")]}},
        {"series": {"cpu.ratio": [float("inf")]}},
        {"series": {"cpu.ratio": [1e19]}},
        {"series": {"cpu.ratio": [0.5] * 241}},
        {"clock_offset_s": 1e300},
        {"dropped": -1},
        {"session": 2**60},
    ],
)
def test_telemetry_when_it_breaks_a_bound_then_is_malformed(fields: dict[str, Any]) -> None:
    """MUST 45, 46."""
    assert refusal_of(telemetry(**fields), UP) == "message.malformed"


def test_telemetry_when_as_large_as_allowed_then_fits_into_its_envelope() -> None:
    """MUST 10, 45: no limit on the parts can be reached while another one hides it."""
    assert len(telemetry(offsets=list(range(240)), series={"cpu.ratio": [0.1235] * 240})) < envelope.limit_of(
        "telemetry"
    )
    names = {f"inference.{'m' * 40}{number:02}.ms": [0.1235] for number in range(96)}
    assert len(telemetry(offsets=[0], series=names)) < envelope.limit_of("telemetry")
