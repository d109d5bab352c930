"""The golden set: a few inputs with expected outputs, run wherever a variant is loaded.

It catches what loads and runs and yet answers wrongly, as an int8 model does on a runtime with a broken kernel. The
file is safetensors with `input.<name>` and `output.<name>`, samples first. How answers are compared: `scores`.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from shoal.runtimes.model import Array, BadModel, LoadedModel
from shoal.runtimes.scores import agreement
from shoal.wire.errors import WireError
from shoal.wire.models import TensorSpec
from shoal.wire.tensors import decode_tensors

# Two runtimes' int8 outputs may differ by one quantization step, which can flip a label that was a tie.
MIN_AGREEMENT: Final = 0.95
_WRONG: Final = 1e30  # an error that no figure is: of outputs that cannot be compared


@dataclass(frozen=True, kw_only=True)
class GoldenFigures:
    """What came of a golden set.

    Attributes:
        agreement: Share of samples that came out as expected, by the model's task, 0..1.
        max_abs_error: Largest difference of any output from the expected one.
        latency_p50_ms: Median of the single inferences.
    """

    samples: int
    agreement: float
    max_abs_error: float
    passed: bool
    latency_p50_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Give the figures for a frame."""
        return asdict(self)


def read_golden(data: bytes, model: LoadedModel) -> tuple[dict[str, Array], dict[str, Array]]:
    """Give the inputs and the expected outputs of a golden set, by the model's names.

    Raises:
        BadModel: `golden.malformed`.
    """
    try:
        tensors = decode_tensors(data)
        if tensors.keys() == {"input", "output"} and len(model.inputs) == len(model.outputs) == 1:
            # Devices hold files of the time when a model had one input and one output, and must start with them.
            tensors = {f"{kind}.{spec.name}": tensors[kind] for kind, spec in _only(model)}
        inputs = {spec.name: tensors[f"input.{spec.name}"] for spec in model.inputs}
        expected = {spec.name: tensors[f"output.{spec.name}"] for spec in model.outputs}
    except (WireError, KeyError) as error:
        raise BadModel("golden.malformed", f"The golden set does not parse: {error}") from error
    counts = {len(array) if array.ndim else 0 for array in (*inputs.values(), *expected.values())}
    if len(counts) != 1 or counts == {0}:
        raise BadModel("golden.malformed", "The golden set has no samples, or not as many outputs as inputs.")
    return inputs, expected


def check_golden(model: LoadedModel, golden: bytes, task: str) -> GoldenFigures:
    """Run a golden set, one sample at a time.

    Raises:
        BadModel: `golden.malformed`, `task.unknown`, or what an inference is refused with.
    """
    inputs, expected = read_golden(golden, model)
    count = len(next(iter(inputs.values())))
    answers, seconds = [], []
    for index in range(count):
        sample = {name: array[index : index + 1] for name, array in inputs.items()}
        start = time.perf_counter()
        answers.append(model.infer(sample))
        seconds.append(time.perf_counter() - start)
    share, error = _compared(task, [spec.name for spec in model.outputs], answers, expected)
    return GoldenFigures(
        samples=count,
        agreement=share,
        max_abs_error=error,
        passed=share >= MIN_AGREEMENT,
        latency_p50_ms=float(np.median(seconds)) * 1000,
    )


def _only(model: LoadedModel) -> list[tuple[str, TensorSpec]]:
    return [("input", model.inputs[0]), ("output", model.outputs[0])]


def _compared(
    task: str, names: list[str], answers: list[dict[str, Array]], expected: dict[str, Array]
) -> tuple[float, float]:
    """Give agreement and largest error."""
    try:
        got = {name: np.concatenate([answer[name] for answer in answers]) for name in names}
    except ValueError:  # of several shapes
        return 0.0, _WRONG
    if any(got[name].shape != expected[name].shape or not np.isfinite(got[name]).all() for name in names):
        return 0.0, _WRONG
    errors = [np.abs(got[name].astype(np.float64) - expected[name]).max(initial=0.0) for name in names]
    return agreement(task, got, {name: expected[name] for name in names}), min(float(max(errors)), _WRONG)
