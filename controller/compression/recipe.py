"""What a compression shall make: a validated list of trials. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.errors import Invalid

FP32: Final = "fp32"
INT8: Final = "int8"
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    FP32: {},
    INT8: {"quantization": "static", "format": "qdq", "weights": "int8 per channel", "activations": "int8 min-max"},
}


@dataclass(frozen=True, order=True)
class Trial:
    """One variant to make and to prove; recipes with the same file for several runtimes are converted once."""

    recipe: str
    runtime: str


def plan(recipes: Iterable[tuple[str, Sequence[str]]]) -> list[Trial]:
    """Give the trials of recipes with their runtimes, float32 first: the others are compared with it.

    Raises:
        Invalid: `recipe.unknown`, `recipe.duplicate`.

    >>> plan([("int8", ["openvino"]), ("fp32", ["onnxruntime"])])
    [Trial(recipe='fp32', runtime='onnxruntime'), Trial(recipe='int8', runtime='openvino')]
    """
    trials: list[Trial] = []
    for name, runtimes in recipes:
        if name not in SETTINGS:
            raise Invalid("recipe.unknown", f"There is no recipe {name[:40]}; there are {', '.join(SETTINGS)}.")
        for trial in (Trial(name, runtime) for runtime in runtimes):
            if trial in trials:
                raise Invalid("recipe.duplicate", f"{name} for {trial.runtime} stands in the request twice.")
            trials.append(trial)
    return sorted(trials)
