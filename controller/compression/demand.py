"""Which variants a fleet needs: for each kind of device the best that there is or can be made. Pure.

A fixed list says what is wanted, the better first: int8 on every runtime that the device offers, then fp16, then fp32;
of a ready-made file that no recipe is for, the file as it is. What was tried and is not good enough, or cannot be made
here, is told and passed over for the next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.compression.choosing import recipe
from controller.compression.choosing.recipe import AS_IS, FP16, FP32, INT8, ONNX, PRESETS, PROGRAM
from controller.compression.export.conversion import needs_toolchain
from controller.errors import Invalid

RECIPES: Final = (INT8, FP16, FP32)
# By their latencies, the quick ones first. Arm NN last: only float is sure to be right there.
RUNTIMES: Final = ("onnxruntime", "litert", "executorch", "openvino", "torchscript", "armnn", "edgeimpulse")
_CONVERTERS: Final = {"onnxruntime": "onnx"}  # the others are called as their runtime
_FALLBACKS: Final = frozenset({FP16, FP32})
_MAX_WORDS: Final = 20  # hardware that is named for one need

Pair = tuple[str, str]  # recipe and runtime


@dataclass(frozen=True, kw_only=True)
class Present:
    """A variant that exists, as it is for some devices.

    Attributes:
        fits: Whether they could run it; else `reason` says why not.
    """

    variant_id: str
    fits: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Devices that are alike.

    Attributes:
        present: The variants that exist, by recipe and runtime.
        chosen: What they would get now.
    """

    hardware: str
    count: int
    runtimes: frozenset[str]
    present: Mapping[Pair, Present] = field(default_factory=dict)
    chosen: Pair | None = None


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What can be made of a version, and what was tried.

    Attributes:
        source: The version's format.
        building: Jobs that are at it.
        tried: What was refused or failed, with the reason.
        has_toolchain: Whether the converters are there that need it.
    """

    source: str
    building: Mapping[Pair, str] = field(default_factory=dict)
    tried: Mapping[Pair, str] = field(default_factory=dict)
    has_toolchain: bool = True


@dataclass(kw_only=True)
class Wanted:
    """A variant that devices would run best.

    Attributes:
        state: `present`, `building`, `missing`, `refused`, `toolchain_missing`.
        hardware: In words, each once, at most 20.
    """

    recipe: str
    runtime: str
    state: str
    devices: int = 0
    hardware: list[str] = field(default_factory=list)
    variant_id: str | None = None
    job_id: str | None = None
    reason: str = ""


def wanted(runtimes: frozenset[str], source: str) -> Iterator[Pair]:
    """Give what would be wanted for devices with these runtimes, of what can be made of a source; the better first.

    >>> list(wanted(frozenset({"litert", "onnxruntime"}), "program"))[:3]
    [('int8', 'onnxruntime'), ('int8', 'litert'), ('fp16', 'onnxruntime')]
    """
    for name in RECIPES if source in (PROGRAM, ONNX) else (AS_IS,):
        for runtime in RUNTIMES:
            if runtime in runtimes and _can_make(name, runtime, source):
                yield name, runtime


def demand(fleet: Sequence[Devices], workshop: Workshop) -> tuple[list[Wanted], int]:
    """Say what a fleet needs; the second figure counts the devices that nothing can serve, there or to be made.

    >>> pi = Devices(hardware="Pi", count=3, runtimes=frozenset({"litert"}))
    >>> needs, without = demand([pi], Workshop(source="program"))
    >>> [(need.recipe, need.runtime, need.state, need.devices) for need in needs], without
    ([('int8', 'litert', 'missing', 3)], 0)
    """
    needs: dict[Pair, Wanted] = {}
    without = 0
    for devices in fleet:
        served = False
        for need in _walk(devices, workshop):
            known = needs.setdefault((need.recipe, need.runtime), need)
            known.devices += devices.count
            if devices.hardware not in known.hardware and len(known.hardware) < _MAX_WORDS:
                known.hardware.append(devices.hardware)
            # One kind of device may be served by what does not fit another.
            if need.state == "present" and known.state != "present":
                known.state, known.variant_id, known.reason = need.state, need.variant_id, ""
            served = served or need.state in ("present", "building", "missing")
        without += 0 if served else devices.count
    return sorted(needs.values(), key=lambda need: (-need.devices, need.recipe, need.runtime)), without


def _walk(devices: Devices, workshop: Workshop) -> Iterator[Wanted]:
    """Give what is wanted for devices that are alike, until something is that serves them."""
    if devices.chosen is not None and devices.chosen[0] not in _FALLBACKS:
        yield _present(devices, devices.chosen)
        return
    for pair in wanted(devices.runtimes, workshop.source):
        need = _need(devices, pair, workshop)
        yield need
        if need.state not in ("refused", "toolchain_missing"):
            return
    if devices.chosen is not None:
        yield _present(devices, devices.chosen)


def _need(devices: Devices, pair: Pair, workshop: Workshop) -> Wanted:
    name, runtime = pair
    present = devices.present.get(pair)
    if present is not None and present.fits:
        return _present(devices, pair)
    if present is not None:
        return Wanted(
            recipe=name, runtime=runtime, state="refused", variant_id=present.variant_id, reason=present.reason
        )
    if pair in workshop.building:
        return Wanted(recipe=name, runtime=runtime, state="building", job_id=workshop.building[pair])
    if pair in workshop.tried:
        return Wanted(recipe=name, runtime=runtime, state="refused", reason=workshop.tried[pair])
    if not workshop.has_toolchain and needs_toolchain(_CONVERTERS.get(runtime, runtime), name, workshop.source):
        reason = "Its converter needs the toolchain: run `shoal toolchain install`."
        return Wanted(recipe=name, runtime=runtime, state="toolchain_missing", reason=reason)
    return Wanted(recipe=name, runtime=runtime, state="missing")


def _present(devices: Devices, pair: Pair) -> Wanted:
    name, runtime = pair
    return Wanted(recipe=name, runtime=runtime, state="present", variant_id=devices.present[pair].variant_id)


def _can_make(name: str, runtime: str, source: str) -> bool:
    try:
        recipe.check_runtime(name, PRESETS[name], runtime, source)
    except Invalid:
        return False
    return True
