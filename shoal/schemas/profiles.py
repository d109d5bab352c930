"""Profiles: variants measured on devices, and what follows from them: which variant a device gets, what is missing."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shoal.schemas.common import Name, Request, Response, Selector
from shoal.schemas.recipes import Budget


class ProfileRequest(Request):
    """`POST /v1/profiles`: have devices measure variants of a version, one execution a device and variant.

    Attributes:
        variants: Ids; empty: all that each device can run.
        devices_per_class: Of each hardware class at most so many measure; 0: all that the selector means.
    """

    model: Name
    version: int = Field(ge=1)
    selector: Selector
    variants: list[str] = Field(default=[], max_length=256)
    devices_per_class: int = Field(default=1, ge=0, le=100_000)
    runs: int = Field(default=200, ge=10, le=10_000)


class Profiling(Response):
    """A request to measure, and how far it is."""

    id: str
    model: str
    version: int
    selector: str
    executions: dict[str, int]  # by state
    created_by: str
    created_at: datetime


class Profile(Response):
    """What a hardware class makes of a variant: the newest measurement.

    Attributes:
        hardware_class: Its short digest; `hardware` are the words.
        figures: As in `shoal.wire.profiles.ProfileResult`.
        passed: Whether its golden set did; where not, the variant is not offered to the class.
        history: The measurements until now, the newest first: {execution_id, device_id, passed, latency_p50_ms,
            measured_at}.
    """

    id: str
    variant_id: str
    model: str
    version: int
    recipe: str
    runtime: str
    hardware_class: str
    hardware: str
    device_id: str
    passed: bool
    figures: dict[str, Any]
    history: list[dict[str, Any]]
    measured_at: datetime


class Candidate(Response):
    """A variant, as it is for one device.

    Attributes:
        code: `chosen`, `worse`, or why it is out: `runtime.missing`, `golden.failed`, `accuracy.over_budget`,
            `size.over_budget`, `latency.over_budget`, `memory.too_little`, ...
        reason: The same in words.
        source: Of the latency: `profile` (of this hardware class), `estimate` (from facts and the cloud), `none`.
    """

    variant_id: str
    recipe: str
    runtime: str
    code: str
    reason: str
    size_bytes: int
    accuracy: float
    latency_p50_ms: float | None
    source: Literal["profile", "estimate", "none"]


class Explanation(Response):
    """`GET /v1/models/{model}/versions/{number}/explain?device=`: which variant a device gets, and why."""

    model: str
    version: int
    device_id: str
    hardware_class: str
    hardware: str
    chosen: str | None
    candidates: list[Candidate]


class Need(Response):
    """A variant that devices would run best.

    Attributes:
        state: `present`, `building`, `missing`, `refused` (tried, and outside the budget), `toolchain_missing`.
        devices: How many of the demand's devices it is for.
    """

    recipe: str
    runtime: str
    state: str
    devices: int
    hardware: list[str]
    variant_id: str | None
    job_id: str | None
    reason: str


class Demand(Response):
    """`GET /v1/models/{model}/versions/{number}/demand?selector=`: which variants the fleet needs."""

    model: str
    version: int
    selector: str
    devices: int
    without: int  # devices that no variant can serve, present or buildable
    needs: list[Need]


class BuildPolicy(Request):
    """`PUT /v1/models/{model}/build-policy`: build what is missing for these devices whenever a version comes.

    Attributes:
        profile: Have a device of each hardware class measure what was built.
    """

    selector: Selector
    calibration_dataset: Name
    evaluation_dataset: Name
    golden_dataset: Name
    training_dataset: Name | None = None
    budget: Budget = Budget()
    profile: bool = True


class Board(Response):
    """A board of the catalogue; every figure names its source.

    Attributes:
        figures: Name to {value, unit, source}: memory_bytes, int8_ops_per_s, fp32_flops, memory_bandwidth, idle_w,
            load_w, temperature_min_c, temperature_max_c, price is not among them.
    """

    name: str
    title: str
    runtimes: list[str]
    connectivity: list[str]
    figures: dict[str, dict[str, Any]]


class AdviceRequest(Request):
    """`POST /v1/models/{model}/versions/{number}/advice`: which boards would serve."""

    max_latency_ms: float | None = Field(default=None, gt=0)
    max_accuracy_drop: float = Field(default=0.02, ge=0, le=1)
    max_power_w: float | None = Field(default=None, gt=0)
    temperature_min_c: float | None = Field(default=None, ge=-100, le=250)
    temperature_max_c: float | None = Field(default=None, ge=-100, le=250)
    connectivity: list[str] = Field(default=[], max_length=16)


class Advice(Response):
    """A board and whether it would serve.

    Attributes:
        verdict: `serves`, `may_serve` (inside the uncertainty), `does_not_serve`, `unknown`.
        latency_ms: (least, most likely, most); None where nothing is known.
        source: `profile` or `specification`.
    """

    board: str
    title: str
    verdict: Literal["serves", "may_serve", "does_not_serve", "unknown"]
    reasons: list[str]
    variant_id: str | None
    latency_ms: tuple[float, float, float] | None
    source: Literal["profile", "specification", "none"]
