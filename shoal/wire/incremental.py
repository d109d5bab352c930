"""Messages about learning alone: the drift monitor, the evidence it gives, and an incremental update."""

from typing import Annotated

import msgspec

from shoal.wire.devices import ArtifactRef, Count, MessageId, Ratio, Sha256, ShortText


class DriftMonitor(msgspec.Struct, frozen=True, kw_only=True):
    """Watch a model's confidence by the population stability index; part of the desired document.

    Attributes:
        reference_samples: The device's own first confidences after a version is loaded; a global reference alarms on
            a clean stream whose labels are skewed.
        window: Samples compared with the reference.
        bins: Quantile bins of the reference.
        threshold: PSI above which drift is reported.
    """

    policy_id: ShortText
    model: ShortText
    reference_samples: Annotated[int, msgspec.Meta(ge=50, le=100_000)] = 200
    window: Annotated[int, msgspec.Meta(ge=20, le=100_000)] = 100
    bins: Annotated[int, msgspec.Meta(ge=2, le=100)] = 5
    threshold: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.25


class Evidence(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="evidence"):
    """A device's figures for one model, signed; what triggers may rest on.

    Attributes:
        samples: Inferences since the version was loaded.
        population_stability_index: Of the last window against the reference.
        drift_detected: Whether it crossed the threshold with this sample.
        noticed_at: The device's wall clock, ISO 8601 UTC.
    """

    id: MessageId
    session: Count
    sequence: Count
    policy_id: ShortText
    model: ShortText
    version: Count
    samples: Count
    population_stability_index: float
    drift_detected: bool
    noticed_at: ShortText


class IncrementalUpdateSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Fine-tune on the device's own new samples, with replay and distillation.

    Attributes:
        train_program, eval_program: As in a federated round; `eval_program` is the same net in evaluation mode.
        weights: The version to start from, and the teacher.
        replay: A class-balanced buffer (safetensors `x`, `y`) that the controller ships.
        retention: Held-out samples of the old knowledge, same form, measured before and after.
        dataset: Folder of local data; labelled samples whose `at` is not before `since` count as new.
        new_samples: How many of these to wait for.
        evaluation_samples: The last of the new samples that are held out to measure, not trained on.
        steps, batch_new, batch_replay, learning_rate, momentum: SGD.
        distillation_temperature: T of the soft targets on the replayed half; 0 leaves distillation out.
    """

    policy_id: ShortText
    model: ShortText
    version: Count
    train_program: ArtifactRef
    eval_program: ArtifactRef
    weights: ArtifactRef
    replay: ArtifactRef
    retention: ArtifactRef
    dataset: ShortText
    since: ShortText
    new_samples: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 200
    evaluation_samples: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 300
    batch_new: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 16
    batch_replay: Annotated[int, msgspec.Meta(ge=0, le=65536)] = 16
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.01
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    distillation_temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] = 2.0
    seed: Count = 0


class IncrementalUpdateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the device learned. Accuracies are 0..1, measured on the device before and after.

    Attributes:
        update: Digest of the uploaded new weights (safetensors).
        old_before, old_after: On the shipped retention samples.
        new_before, new_after: On the device's own new samples.
    """

    update: Sha256
    size_bytes: Count
    samples: Count
    old_before: Ratio
    old_after: Ratio
    new_before: Ratio
    new_after: Ratio
    duration_s: float
