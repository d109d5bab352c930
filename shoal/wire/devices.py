"""Messages about devices: presence, facts, refusals, the controller's own state, and enrolment over HTTP."""

from typing import Annotated, Any

import msgspec

ShortText = Annotated[str, msgspec.Meta(max_length=256)]
LongText = Annotated[str, msgspec.Meta(max_length=2048)]
MessageId = Annotated[str, msgspec.Meta(max_length=64)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Rate = Annotated[float, msgspec.Meta(gt=0.0, le=1e18)]
Celsius = Annotated[float, msgspec.Meta(ge=-100.0, le=250.0)]


class ArtifactRef(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable bytes, named; fetched from `/device/v1/blobs/<sha256>`."""

    sha256: Sha256
    size_bytes: Count


class Birth(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="birth"):
    """A device came online, signed: makes the gateway send what differs; two instances in one session are a clone.

    Attributes:
        id: `<session>-<sequence>`.
        session: Grows by one each time that the agent connects; a late will of an older one is ignored.
        instance: Random, new with each start of the agent: who else claims this session number is a clone.
        desired_epoch, desired_version: The desired document that the device holds; 0, 0 for none.
        open_executions: What the device is still working on.
    """

    id: MessageId
    session: Count
    instance: ShortText
    boot_id: ShortText
    agent_version: ShortText
    desired_epoch: Count = 0
    desired_version: Count = 0
    open_executions: Annotated[list[ShortText], msgspec.Meta(max_length=100)] = []
    at: ShortText = ""


class Will(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="will"):
    """The session ended; published by the broker, or by the agent itself when it stops (`clean`)."""

    session: Count
    clean: bool = False


class Accelerator(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chip beside the CPU that neural networks can run on.

    Attributes:
        kind: `gpu`, `npu`, `tpu`, `vpu`.
        vendor: In lower case: `nvidia`, `intel`, `amd`, `google`, `hailo`, `rockchip`, `qualcomm`.
        found_by: `nvml`, `device_tree`, `openvino`, `device_node`: how it is known to be there.
    """

    kind: ShortText
    vendor: ShortText
    name: ShortText
    found_by: ShortText
    memory_bytes: Count | None = None


class NetworkInterface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network interface that hardware stands behind.

    Attributes:
        kind: `ethernet`, `wifi`, `cellular`, `other`.
        is_metered: Whether its traffic costs money, as the network manager knows; absent where nobody knows.
    """

    name: ShortText
    kind: ShortText
    is_up: bool
    is_metered: bool | None = None
    speed_bits_per_s: Count | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the device really does, measured once at low priority and kept until the hardware changes.

    Attributes:
        measured_at: ISO 8601 UTC, by the device's clock.
        fp32_macs_per_s, int8_macs_per_s: Multiply-accumulates a second on one core.
        memory_bytes_per_s: Copied in main memory, one core.
        storage_bytes_per_s: Written to the artifact store and synced.
    """

    measured_at: ShortText
    fp32_macs_per_s: Rate | None = None
    int8_macs_per_s: Rate | None = None
    memory_bytes_per_s: Rate | None = None
    storage_bytes_per_s: Rate | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device is and can do. What could not be read is absent, never zero.

    Attributes:
        runtimes: Installed inference runtimes that the agent offers, name to version.
        runtime_options: What they use on this machine, `runtime.option` to value: `openvino.device` to `NPU`.
        can_train: Whether the training process can start (torch is installed and allowed).
        isa: Instruction sets that matter to neural networks, as Linux calls them: `neon`, `dotprod`, `i8mm`, `sve`,
            `fp16`, `bf16`, `avx2`, `avx512f`, `avx512_vnni`, `avx_vnni`, `amx_int8` (docs/facts.md has all).
        board: As the device tree or the firmware names it: `Raspberry Pi 5 Model B Rev 1.0`.
        disk_bytes, disk_free_bytes: Of the file system that holds the artifact store.
        power_source: `mains` or `battery`.
        energy_counters: Names of what can measure energy: `rapl:package-0`, `ina3221:VDD_IN`.
        temperatures_celsius: Sensor to degrees, when the facts were read.
        is_metered: Whether the way to the controller costs money.
        time_zone: Of the IANA data base where it can be known, such as `Europe/Paris`.
        round_trip_s, download_bytes_per_s: Of the way to the controller, measured.
        inference_url: Where the device answers the Open Inference Protocol, seen from the device.
    """

    hostname: ShortText
    machine: ShortText
    system: ShortText
    python: ShortText
    agent_version: ShortText
    runtimes: Annotated[dict[ShortText, ShortText], msgspec.Meta(max_length=32)]
    can_train: bool
    runtime_options: Annotated[dict[ShortText, ShortText], msgspec.Meta(max_length=16)] = {}
    hardware_id: ShortText | None = None
    board: ShortText | None = None
    cpu_model: ShortText | None = None
    cpu_cores: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    isa: Annotated[list[ShortText], msgspec.Meta(max_length=64)] = []
    memory_bytes: Annotated[int, msgspec.Meta(ge=2**20, le=2**53)] | None = None
    disk_bytes: Count | None = None
    disk_free_bytes: Count | None = None
    accelerators: Annotated[list[Accelerator], msgspec.Meta(max_length=32)] = []
    power_source: ShortText | None = None
    battery_ratio: Ratio | None = None
    energy_counters: Annotated[list[ShortText], msgspec.Meta(max_length=64)] = []
    temperatures_celsius: Annotated[dict[ShortText, Celsius], msgspec.Meta(max_length=64)] = {}
    interfaces: Annotated[list[NetworkInterface], msgspec.Meta(max_length=32)] = []
    is_metered: bool | None = None
    time_zone: ShortText | None = None
    round_trip_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    download_bytes_per_s: Rate | None = None
    measured: Measured | None = None
    inference_url: ShortText | None = None
    ip_addresses: Annotated[list[ShortText], msgspec.Meta(max_length=64)] = []


class FactsReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="facts"):
    """A device's facts, signed."""

    id: MessageId
    session: Count
    sequence: Count
    facts: Facts


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="refusal"):
    """The controller refused a message; on `down/reply`."""

    message_id: MessageId
    code: ShortText
    message: LongText


class ControllerState(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="controller_state"):
    """The controller lives; signed, retained, published each minute by the leader.

    Attributes:
        epoch: Raised by a restore from backup; orders desired documents.
        incarnation: Changes where messages may have been missed (the broker kept nothing for the controller); agents
            then give birth again, with jitter.
        at: The controller's clock, ISO 8601 UTC.
    """

    epoch: Count
    incarnation: ShortText
    at: ShortText


class EnrollRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /device/v1/enroll`. The CSR's subject and extensions are ignored; only its key counts."""

    token: ShortText
    csr: Annotated[str, msgspec.Meta(max_length=8192)]
    facts: Facts


class EnrollAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an enrolled device keeps.

    Attributes:
        certificate, ca: PEM.
        broker_url: `mqtt[s]://[user:password@]host:port`.
        controller_keys: Base64 Ed25519 public keys that may sign what comes down, by key id.
        expires_at: The end of the certificate, ISO 8601 UTC, by the controller's clock.
        renew_after_s: When the device shall ask for a fresh one, from now.
        session_floor: The device numbers its sessions above this: a machine installed anew has forgotten its own.
    """

    device_id: str
    certificate: str
    ca: str
    broker_url: str
    controller_keys: dict[str, str]
    expires_at: ShortText
    renew_after_s: float
    session_floor: Count = 0


class EnrollPending(msgspec.Struct, frozen=True, kw_only=True):
    """202: an operator has to decide; ask again with the same key.

    Attributes:
        code: `enrollment.needs_approval`, or `enrollment.claims_device` where the hardware is that of a known device.
    """

    device_id: str
    code: ShortText
    message: LongText
    retry_after_s: Annotated[float, msgspec.Meta(ge=1, le=3600)]


class RenewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /device/v1/renew`, a signed request; answered by `EnrollAnswer`. The CSR is for the key that signs."""

    csr: Annotated[str, msgspec.Meta(max_length=8192)]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An RFC 9457 problem body, as both HTTP doors answer."""

    code: str
    title: str = ""
    detail: str = ""
    status: int = 0
    request_id: str = ""
    errors: list[dict[str, Any]] = []
