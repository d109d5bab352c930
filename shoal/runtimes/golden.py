"""The golden set: a few inputs with expected outputs, run wherever a variant is loaded.

It catches what loads and runs and yet answers wrongly, as an int8 model does on a runtime with a broken kernel.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from shoal.runtimes.model import BadModel, LoadedModel
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors

# Two runtimes' int8 outputs may differ by one quantization step, which can flip a label that was a tie.
MIN_AGREEMENT: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class GoldenFigures:
    """What came of a golden set.

    Attributes:
        agreement: Share of samples with the expected label, 0..1.
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


def check_golden(model: LoadedModel, golden: bytes) -> GoldenFigures:
    """Run a golden set (safetensors `input`, `output`), one sample at a time.

    Raises:
        BadModel: `golden.malformed`.
    """
    try:
        tensors = decode_tensors(golden)
        inputs, expected = tensors["input"], tensors["output"]
    except (WireError, KeyError) as error:
        raise BadModel("golden.malformed", f"The golden set does not parse: {error}") from error
    if not len(inputs) or len(inputs) != len(expected):
        raise BadModel("golden.malformed", "The golden set has no samples, or not as many outputs as inputs.")
    outputs, seconds = [], []
    for sample in inputs:
        start = time.perf_counter()
        outputs.append(model.infer(sample[None]))
        seconds.append(time.perf_counter() - start)
    got = np.concatenate(outputs)
    if got.shape != expected.shape or not np.isfinite(got).all():
        return GoldenFigures(
            samples=len(inputs), agreement=0.0, max_abs_error=1e30, passed=False, latency_p50_ms=_p50_ms(seconds)
        )
    agreement = float((got.argmax(axis=-1) == expected.argmax(axis=-1)).mean())
    return GoldenFigures(
        samples=len(inputs),
        agreement=agreement,
        max_abs_error=float(np.abs(got - expected).max()),
        passed=agreement >= MIN_AGREEMENT,
        latency_p50_ms=_p50_ms(seconds),
    )


def _p50_ms(seconds: list[float]) -> float:
    return float(np.median(seconds)) * 1000
