"""Messages about profiles: a variant measured on the device itself, in the runner, as an execution."""

from typing import Annotated

import msgspec

from shoal.wire.devices import Celsius, Count, ShortText
from shoal.wire.rollouts import DesiredVariant, GoldenResult

Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]


class ProfileSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Measure a variant: fetch it, run its golden set, then `runs` single inferences on the golden inputs.

    Attributes:
        variant: As in a desired document; no slot and nothing that serves is touched.
        runs: After `warm_up` inferences that do not count.
        threads: Of the runtime; 0: what the device would serve with.
    """

    variant: DesiredVariant
    runs: Annotated[int, msgspec.Meta(ge=10, le=10_000)] = 200
    warm_up: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0


class ProfileResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured; what could not be is absent.

    Attributes:
        load_s: From the file to a model that is ready.
        peak_memory_bytes: Of the runner's process, resident, less what it held before the model was loaded.
        energy_j: Of one inference, by the device's own energy counter; includes what else ran meanwhile.
        temperature_before_c, temperature_after_c: Of the hottest sensor.
    """

    golden: GoldenResult
    runtime_version: ShortText
    runs: Count
    threads: Count
    latency_p50_ms: Milliseconds
    latency_p95_ms: Milliseconds
    latency_p99_ms: Milliseconds
    load_s: float
    peak_memory_bytes: Count
    energy_j: float | None = None
    temperature_before_c: Celsius | None = None
    temperature_after_c: Celsius | None = None
