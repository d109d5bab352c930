"""The recipes that a search may try: the full grid. Pure."""

from collections.abc import Sequence
from typing import Final

from controller.compression.choosing.planning import AWARE
from controller.compression.choosing.recipe import (
    FP16,
    FP32,
    INT8,
    INT8_DYNAMIC,
    INT8_NNCF,
    ONNX,
    PRESETS,
    PROGRAM,
    Pipeline,
    Step,
    check_runtime,
)
from controller.errors import Invalid

_KEPT: Final = (0.15, 0.25, 0.35, 0.5, 0.65, 0.8)  # of the multiply-accumulates, by pruning
_WIDTHS: Final = (0.25, 0.35, 0.5, 0.75)  # of a student
_TRAINING: Final = {"learning_rate": 0.01, "batch_size": 32}


def space(runtimes: Sequence[str], format: str, *, has_training: bool) -> list[Pipeline]:
    """Give all recipes that a search may try, each with the runtimes that can run it.

    >>> [one.name for one in space(["onnxruntime"], "onnx", has_training=False)][:3]
    ['int8', 'fp32', 'fp16']
    """
    if format not in (PROGRAM, ONNX):
        return _fitting([("as-is", ())], runtimes, format)
    static = PRESETS[INT8][0]
    light: list[tuple[str, tuple[Step, ...]]] = [
        (name, PRESETS[name]) for name in (INT8, FP32, FP16, INT8_DYNAMIC, INT8_NNCF)
    ]
    light += [(f"int8-{how}", ({**static, "calibration": how},)) for how in ("percentile", "entropy")]
    trained = _trained(static) if has_training and format == PROGRAM else []
    return _fitting([*light, *trained], runtimes, format)


def _trained(static: Step) -> list[tuple[str, tuple[Step, ...]]]:
    """Give the recipes that train: pruned, distilled, both, binary; each in float32 and int8 where that makes sense.

    And int8 that the version itself is trained for.
    """
    networks: list[tuple[str, tuple[Step, ...]]] = []
    for keep in _KEPT:
        networks.append((f"prune{round(100 * keep)}", (_prune(keep),)))
    for width in _WIDTHS:
        networks.append((f"distill{round(100 * width)}", (_distill(width),)))
    for width in (0.5, 0.75):
        networks.append((f"distill{round(100 * width)}-prune50", (_distill(width), _prune(0.5))))
    binarize: Step = {"op": "binarize", "ends": "int8", "training": {**_TRAINING, "epochs": 8}}
    made = [
        (f"{name}{suffix}", (*steps, *last))
        for name, steps in networks
        for suffix, last in (("", ()), ("-int8", (static,)))
    ]
    made.append(("int8-aware", ({**static, "aware": dict(AWARE)},)))
    made += [("binary", (binarize,)), ("prune50-binary", (_prune(0.5), binarize))]
    made.append(("distill50-binary", (_distill(0.5), binarize)))
    return made


def _prune(keep: float) -> Step:
    return {
        "op": "prune",
        "method": "channels",
        "keep": keep,
        "target": "macs",
        "training": {**_TRAINING, "epochs": 8},
    }


def _distill(width: float) -> Step:
    return {
        "op": "distill",
        "width": width,
        "student": None,
        "temperatures": [2.0, 4.0],
        "weights": [0.5, 0.9],
        "training": {**_TRAINING, "learning_rate": 0.05, "epochs": 16},
    }


def _fitting(recipes: Sequence[tuple[str, tuple[Step, ...]]], runtimes: Sequence[str], format: str) -> list[Pipeline]:
    found = []
    for name, steps in recipes:
        able = tuple(runtime for runtime in runtimes if _fits(name, steps, runtime, format))
        if able:
            found.append(Pipeline(name, steps, able))
    return found


def _fits(name: str, steps: Sequence[Step], runtime: str, format: str) -> bool:
    try:
        check_runtime(name, steps, runtime, format)
    except Invalid:
        return False
    return True
