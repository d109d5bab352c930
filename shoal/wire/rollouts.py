"""Messages about what a device shall run and does run: desired, reported, receipt."""

from enum import StrEnum
from typing import Annotated

import msgspec

from shoal.wire.devices import ArtifactRef, Count, LongText, MessageId, Ratio, Sha256, ShortText
from shoal.wire.incremental import DriftMonitor
from shoal.wire.models import Preprocessing, Signature


class SlotState(StrEnum):
    """How far a variant has come on the device."""

    DOWNLOADING = "downloading"
    TRIAL = "trial"
    SERVING = "serving"
    STANDBY = "standby"
    FAILED = "failed"


class DesiredVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that shall serve its model.

    Attributes:
        version: The version's number within its model, its version in the Open Inference Protocol too.
        recipe, runtime: What the variant is; `runtime` names the file under `shoal/runtimes`.
        artifact, golden: The variant's bytes, and its golden set (safetensors: `input.<name>`, `output.<name>`).
        execution_id: The rollout step that this answers; empty where nothing waits for it.
        attempt: Of that step, from 1: what failed once is tried again for a new attempt only.
        task: What the model does: `classification`. Confidence and drift exist for that one.
        format: Of the file: `onnx`, `tflite`, `torchscript`, `ptl`, `pte`, `openvino`, `eim`.
        signature: What the model takes and gives; the names are those of its outside, the file's own may differ.
        preprocessing: What is done to raw data that comes instead of the inputs.
    """

    model: ShortText
    version: Count
    variant_id: ShortText
    recipe: ShortText
    runtime: ShortText
    artifact: ArtifactRef
    golden: ArtifactRef
    execution_id: ShortText = ""
    attempt: Count = 1
    task: ShortText = "classification"
    class_labels: list[ShortText] = []
    format: ShortText = "onnx"
    signature: Signature | None = None
    preprocessing: Preprocessing = []


class Desired(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="desired"):
    """All that a device shall be; signed, retained. Ordered by `(epoch, version)`; an older one is refused."""

    epoch: Count
    version: Count
    variants: Annotated[list[DesiredVariant], msgspec.Meta(max_length=32)] = []
    monitors: Annotated[list[DriftMonitor], msgspec.Meta(max_length=32)] = []


class SlotReport(msgspec.Struct, frozen=True, kw_only=True):
    """One slot as it stands."""

    model: ShortText
    slot: ShortText
    state: SlotState
    version: Count
    variant_id: ShortText
    runtime: ShortText
    sha256: Sha256
    code: ShortText = ""
    message: LongText = ""


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="reported"):
    """What the device holds, answering the desired document `(epoch, version)`."""

    id: MessageId
    session: Count
    sequence: Count
    epoch: Count
    version: Count
    slots: Annotated[list[SlotReport], msgspec.Meta(max_length=96)] = []


class GoldenResult(msgspec.Struct, frozen=True, kw_only=True):
    """The golden set as run by the process that serves.

    Attributes:
        samples: How many golden inputs were run.
        agreement: Share of them with the expected label, 0..1.
        max_abs_error: Largest difference of any output from the expected one.
        passed: The runtime's verdict.
    """

    samples: Count
    agreement: Ratio
    max_abs_error: float
    passed: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="receipt"):
    """What the device really runs, stated after the process that serves has loaded it; signed.

    Attributes:
        sha256: Digest of the bytes that were loaded, computed by the process that loaded them.
        is_fallback: True where this is not what was desired, because that failed.
        latency_p50_ms: Median of the golden set's runs in the serving process, batch of 1.
    """

    id: MessageId
    session: Count
    sequence: Count
    boot_id: ShortText
    model: ShortText
    version: Count
    variant_id: ShortText
    slot: ShortText
    runtime: ShortText
    runtime_version: ShortText
    sha256: Sha256
    golden: GoldenResult
    latency_p50_ms: float
    execution_id: ShortText = ""
    is_fallback: bool = False
    at: ShortText = ""
