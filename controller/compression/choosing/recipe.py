"""What recipes are: pipelines that were checked before a job starts. Pure.

A recipe is made into a variant for a runtime in two parts: its *program steps* change the network (distill, prune,
binarize, and a quantization that is trained for); then its file is made, at a precision. What a runtime can have, by
the format that the version came in, is decided here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.compression.export.conversion import ConversionError, check
from controller.errors import Invalid

FP32: Final = "fp32"
FP16: Final = "fp16"
INT8: Final = "int8"
INT8_DYNAMIC: Final = "int8-dynamic"
INT8_NNCF: Final = "int8-nncf"
AS_IS: Final = "as-is"
PROGRAM: Final = "program"
ONNX: Final = "onnx"
NETWORK: Final = "network "  # before a digest: what a job's row keeps of a network that was trained
MIN_CALIBRATION: Final = 8  # fewer samples say nothing about the range of activations

Step = Mapping[str, Any]

_QUANTIZE: Final[Step] = {
    "op": "quantize",
    "calibration": "minmax",
    "quantizer": "own",
    "aware": None,
    "float_layers": 0,
}
PRESETS: Final[Mapping[str, tuple[Step, ...]]] = {
    FP32: (),
    AS_IS: (),
    FP16: ({**_QUANTIZE, "mode": "fp16"},),
    INT8: ({**_QUANTIZE, "mode": "static"},),
    INT8_DYNAMIC: ({**_QUANTIZE, "mode": "dynamic"},),
    INT8_NNCF: ({**_QUANTIZE, "mode": "static", "quantizer": "nncf"},),
}
_PRECISIONS: Final = {"static": INT8, "dynamic": INT8_DYNAMIC, "fp16": FP16}
_ORDER: Final = {"distill": 0, "prune": 1, "binarize": 2, "quantize": 2}
_ONNX_RUNTIMES: Final = frozenset({"onnxruntime", "openvino"})
_OWN_RUNTIMES: Final[Mapping[str, frozenset[str]]] = {
    "tflite": frozenset({"litert", "armnn"}),
    "torchscript": frozenset({"torchscript"}),
    "ptl": frozenset({"torchscript"}),
    "pte": frozenset({"executorch"}),
    "openvino": frozenset({"openvino"}),
    "eim": frozenset({"edgeimpulse"}),
}


@dataclass(frozen=True)
class Pipeline:
    """A recipe with a name: what is done, for which runtimes."""

    name: str
    steps: tuple[Step, ...]
    runtimes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What recipes are checked against.

    Attributes:
        format: Of the version.
        has_training: Whether there is a training set.
        calibration_samples: How many there are.
        named: The pipelines that the version's variants and open jobs have names for.
    """

    format: str = PROGRAM
    has_training: bool = False
    calibration_samples: int = MIN_CALIBRATION
    named: Mapping[str, Sequence[Step]]


def trial_key(name: str, runtime: str) -> str:
    """Name a recipe on a runtime within a job.

    >>> trial_key("int8", "openvino")
    'int8/openvino'
    """
    return f"{name}/{runtime}"


def is_trained(step: Step) -> bool:
    """Tell whether a step changes the network, and so needs a training set.

    >>> is_trained({"op": "prune"}), is_trained({"op": "quantize", "aware": None})
    (True, False)
    """
    return step["op"] != "quantize" or step.get("aware") is not None


def program_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Give the part of a pipeline that changes the network; of a quantization what it is trained by.

    >>> program_steps([{"op": "quantize", "mode": "static", "aware": {"epochs": 4}, "float_layers": 2}])
    ({'op': 'quantize', 'aware': {'epochs': 4}},)
    """
    trained = (step for step in steps if is_trained(step))
    return tuple({"op": "quantize", "aware": step["aware"]} if step["op"] == "quantize" else step for step in trained)


def digest(steps: Sequence[Step]) -> str:
    """Name what steps make of a network."""
    return hashlib.sha256(json.dumps([dict(step) for step in steps], sort_keys=True).encode()).hexdigest()[:16]


def is_by_nncf(steps: Sequence[Step]) -> bool:
    """Tell whether NNCF quantizes, and OpenVINO's own form is made.

    >>> is_by_nncf(PRESETS["int8"]), is_by_nncf(PRESETS["int8-nncf"])
    (False, True)
    """
    return any(step["op"] == "quantize" and step.get("quantizer") == "nncf" for step in steps)


def precision(steps: Sequence[Step]) -> str:
    """Give the precision of the file that a pipeline makes.

    >>> precision([]), precision([{"op": "prune"}, {"op": "quantize", "mode": "static"}])
    ('fp32', 'int8')
    """
    return next((_PRECISIONS[step["mode"]] for step in steps if step["op"] == "quantize"), FP32)


def plan(recipes: Iterable[tuple[str, Sequence[Step] | None, Sequence[str]]], given: Given) -> list[Pipeline]:
    """Check recipes, float32 first: the others are compared with it.

    Args:
        recipes: Name, steps (None: the name says them) and runtimes.

    Raises:
        Invalid: `recipe.unknown`, `recipe.duplicate`, `recipe.name_taken`, `recipe.bad_order`, `recipe.bad_step`,
            `recipe.not_for_format`, `recipe.not_for_runtime`, `recipe.needs_training`, `recipe.needs_calibration`.
    """
    named: dict[str, tuple[Step, ...]] = {name: tuple(steps) for name, steps in given.named.items()}
    seen: set[str] = set()
    pipelines = []
    for name, said, runtimes in recipes:
        steps = _steps(name, said, named)
        _check_order(name, steps)
        _check_given(name, steps, given)
        for runtime in runtimes:
            key = trial_key(name, runtime)
            if key in seen:
                raise Invalid("recipe.duplicate", f"{name} for {runtime} stands in the request twice.")
            seen.add(key)
            check_runtime(name, steps, runtime, given.format)
        named[name] = steps
        pipelines.append(Pipeline(name, steps, tuple(runtimes)))
    return sorted(pipelines, key=lambda one: (bool(one.steps), len(program_steps(one.steps)), one.name))


def check_runtime(name: str, steps: Sequence[Step], runtime: str, format: str) -> None:
    """Refuse a pipeline that has no file for a runtime.

    Raises:
        Invalid: `recipe.not_for_format`, `recipe.not_for_runtime`.
    """
    if format not in (PROGRAM, ONNX):
        able = _OWN_RUNTIMES[format]
        if steps or runtime not in able:
            message = f"A version in the format {format} goes as it is, on {' or '.join(sorted(able))}: recipe {AS_IS}."
            raise Invalid("recipe.not_for_format", message)
        return
    if format == ONNX and (program_steps(steps) or runtime not in _ONNX_RUNTIMES):
        message = f"A version in the format onnx has no network to train: {name} for {runtime} needs a program."
        raise Invalid("recipe.not_for_format", message)
    if is_by_nncf(steps):
        _check_nncf(name, steps, runtime)
        return
    if runtime in _ONNX_RUNTIMES:
        return
    if any(step["op"] == "binarize" for step in steps):
        raise Invalid("recipe.not_for_runtime", f"{name}: binary weights are unpacked in ONNX files, not by {runtime}.")
    for step in steps:
        if step["op"] == "quantize" and (step["float_layers"] or step["calibration"] != "minmax"):
            message = f"{name}: {runtime} has its own calibration, and all its layers are quantized."
            raise Invalid("recipe.not_for_runtime", message)
    try:
        check(runtime, precision(steps), PROGRAM)
    except ConversionError as error:
        raise Invalid("recipe.not_for_runtime", f"{name}: {error}") from error


def _check_nncf(name: str, steps: Sequence[Step], runtime: str) -> None:
    if runtime != "openvino":
        raise Invalid("recipe.not_for_runtime", f"{name}: what NNCF makes is for openvino, not for {runtime}.")
    step = next(step for step in steps if step["op"] == "quantize")
    if step["calibration"] == "entropy" or (isinstance(step["float_layers"], int) and step["float_layers"]):
        message = f"{name}: NNCF chooses ranges by minmax or percentile, and layers that stay in float are named to it."
        raise Invalid("recipe.not_for_runtime", message)


def _steps(name: str, said: Sequence[Step] | None, named: Mapping[str, tuple[Step, ...]]) -> tuple[Step, ...]:
    meant = PRESETS.get(name, named.get(name))
    if said is None and meant is None:
        raise Invalid(
            "recipe.unknown", f"There is no recipe {name[:64]}: say its steps; {', '.join(PRESETS)} have some."
        )
    steps = meant if said is None else tuple(dict(step) for step in said)
    if steps is None or (meant is not None and list(steps) != list(meant)):
        raise Invalid("recipe.name_taken", f"{name} is the name of another pipeline; a name means one for a version.")
    return steps


def _check_order(name: str, steps: Sequence[Step]) -> None:
    places = [_ORDER[step["op"]] for step in steps]
    if places != sorted(set(places)):
        message = f"{name}: at most one of each step, in the order distill, prune, binarize or quantize."
        raise Invalid("recipe.bad_order", message)
    for step in steps:
        if step["op"] == "quantize" and step["mode"] != "static" and _has_static_part(step):
            message = (
                f"{name}: training for it, layers in float and NNCF belong to static quantization, not to "
                f"{step['mode']}."
            )
            raise Invalid("recipe.bad_step", message)


def _has_static_part(step: Step) -> bool:
    return bool(step["aware"] or step["float_layers"] or step.get("quantizer") == "nncf")


def _check_given(name: str, steps: Sequence[Step], given: Given) -> None:
    is_static = any(step["op"] == "quantize" and step["mode"] == "static" for step in steps)
    if given.format not in (PROGRAM, ONNX) and (steps or name != AS_IS):
        message = f"A version in the format {given.format} goes as it is: recipe {AS_IS}."
        raise Invalid("recipe.not_for_format", message)
    if given.format in (PROGRAM, ONNX) and name == AS_IS:
        raise Invalid("recipe.not_for_format", f"A version in the format {given.format} as it is, is {FP32}.")
    if given.format == ONNX and program_steps(steps):
        raise Invalid("recipe.not_for_format", f"{name} trains, and an ONNX file has no network to train.")
    if program_steps(steps) and not given.has_training:
        raise Invalid("recipe.needs_training", f"{name} trains: name a training data set.")
    if is_static and given.calibration_samples < MIN_CALIBRATION:
        message = f"{name} is calibrated by at least {MIN_CALIBRATION} samples; there are {given.calibration_samples}."
        raise Invalid("recipe.needs_calibration", message)
