"""The ranges of an ONNX model's activations over calibration samples, in bounded memory.

Samples go through the model a batch at a time, and of what it gives only minima and maxima, or histograms, are kept.
- minmax: all that was seen.
- percentile: what is left when the outermost hundred-thousandth on either side is cut off; a wild value then costs all
  others no precision. Source: Wu et al. 2020, section 4.2, arXiv:2004.09602.
- entropy: the range whose 8-bit form has the least Kullback-Leibler divergence from what was seen. Source: Migacz 2017,
  "8-bit inference with TensorRT", GTC S7310.

ONNX Runtime's own calibrators hold every activation of every sample for the last two, and its entropy, with its
default of as many bins as levels, has one candidate: all that was seen.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Arrays, Samples
from controller.compression.networks.train import Said, ignore

Ranges = dict[str, tuple[float, float]]

MAX_SAMPLES: Final = 512  # more moves no range worth its time
_BATCH: Final = 32
_ACTIVATION_BYTES: Final = 128 * 2**20  # of a batch, all tensors together
_BINS: Final = 2048
_CUT: Final = 1e-5  # on either side
_LEVELS: Final = 255
_STEP: Final = 8  # bins between the candidates of the entropy
_EMPTY: Final = 1e-3  # share of all values, spread over all bins


def ranges_of(model: bytes, tensors: Sequence[str], samples: Samples, method: str, *, said: Said = ignore) -> Ranges:
    """Give the range of each tensor.

    Args:
        model: ONNX; the samples are of its inputs.
        tensors: Names of float tensors of the graph, of its inputs too.
        method: `minmax`, `percentile`, `entropy`.

    Raises:
        Refused: `calibration.not_finite`: a sample makes a tensor infinite.
    """
    samples = samples.take(slice(0, MAX_SAMPLES))
    activations = _Activations(model, tensors, samples)
    ranges: Ranges = {}
    passes = 1 if method == "minmax" else 2
    for done, found in activations:
        for name, array in found.items():
            low, high = float(array.min()), float(array.max())
            if not np.isfinite(low + high):
                raise Refused("calibration.not_finite", f"A calibration sample makes {name} infinite.")
            known = ranges.get(name, (low, high))
            ranges[name] = (min(low, known[0]), max(high, known[1]))
        said(done / passes, f"Calibrating by {method}: {done:.0%} of the samples.")
    if method == "minmax":
        return ranges
    histograms = {name: np.zeros(_BINS, np.int64) for name in ranges}
    for done, found in activations:
        for name, array in found.items():
            histograms[name] += np.histogram(array, _BINS, ranges[name])[0]
        said(0.5 + done / 2, f"Calibrating by {method}: {done:.0%} of the samples once more.")
    choose = percentile if method == "percentile" else least_divergence
    return {name: choose(histograms[name], *ranges[name]) for name in ranges}


def percentile(histogram: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """Give the range without the outermost values.

    Args:
        histogram: Counts of equal bins from `low` to `high`.

    >>> percentile(np.array([1, 0, 0, 100_000, 900_000, 99_999]), -3.0, 3.0)
    (0.0, 3.0)
    """
    if high <= low:
        return low, high
    edges = np.linspace(low, high, len(histogram) + 1)
    shares = np.cumsum(histogram) / histogram.sum()
    first = int(np.searchsorted(shares, _CUT, side="right"))
    last = int(np.searchsorted(shares, 1 - _CUT, side="left"))
    return float(edges[first]), float(edges[min(last, len(histogram) - 1) + 1])


def least_divergence(histogram: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """Give the range that loses the least information in 8 bits; it is cut at the end that is further from zero.

    Args:
        histogram: Counts of equal bins from `low` to `high`.
    """
    bins = len(histogram)
    if high <= low or bins <= _LEVELS:
        return low, high
    edges = np.linspace(low, high, bins + 1)
    histogram = _without_spikes(histogram, int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, bins - 1)))
    if not histogram.sum():
        return low, high
    best, chosen = np.inf, (low, high)
    for limit in np.linspace(0, max(-low, high), bins // _STEP + 1)[1:]:
        start = max(0, int(np.searchsorted(edges, -limit, side="right")) - 1)
        end = min(bins, int(np.searchsorted(edges, limit, side="left")))
        if end - start <= _LEVELS:
            continue
        divergence = _divergence(histogram, start, end)
        if divergence <= best:
            best, chosen = divergence, (float(edges[start]), float(edges[end]))
    return chosen


def _without_spikes(histogram: NDArray[np.int64], zero: int) -> NDArray[np.int64]:
    """Give at most their neighbours' counts to the bins of zero and of both ends.

    A ReLU puts many values there, all of them exactly what a level is; they would only hide what happens to the others.
    """
    smooth = histogram.copy()
    for place in {0, zero, len(histogram) - 1}:
        beside = [histogram[other] for other in (place - 1, place + 1) if 0 <= other < len(histogram)]
        smooth[place] = min(histogram[place], max(beside))
    return smooth


def _divergence(histogram: NDArray[np.int64], start: int, end: int) -> float:
    """Give the divergence of all bins from what they are after 8 bits with the range from `start` to `end`.

    What lies outside comes out at the range's ends, so its own bins are empty then: each counts as a few of all values.
    """
    seen = histogram / histogram.sum()
    level = np.arange(end - start) * _LEVELS // (end - start)
    inside = seen[start:end].copy()
    inside[0] += seen[:start].sum()
    inside[-1] += seen[end:].sum()
    is_used = inside > 0
    sums = np.bincount(level, inside, _LEVELS)
    counts = np.bincount(level, is_used, _LEVELS)
    coded = np.full(len(seen), _EMPTY / len(seen))
    coded[start:end] += np.where(is_used, (sums / np.maximum(counts, 1))[level], 0.0) * (1 - _EMPTY)
    is_seen = seen > 0
    return float((seen[is_seen] * np.log(seen[is_seen] / coded[is_seen])).sum())


class _Activations:
    """What the tensors are for batch after batch, with the share that is done; can be gone through several times."""

    def __init__(self, model: bytes, tensors: Sequence[str], samples: Samples) -> None:
        proto = onnx.load_from_string(model)
        self._inputs = [name for name in tensors if name in samples.inputs]
        self._outputs = [name for name in tensors if name not in samples.inputs]
        known = {output.name for output in proto.graph.output}
        for name in self._outputs:
            if name not in known:
                proto.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self._session = session_of(proto)
        self._samples = samples

    def __iter__(self) -> Iterator[tuple[float, Arrays]]:
        size = fixed = _fixed_batch(self._session)
        start = 0
        while start < len(self._samples):
            batch = self._samples.take(np.arange(start, start + max(size, 1)) % len(self._samples))
            found = dict(zip(self._outputs, self._session.run(self._outputs, batch.inputs), strict=True))
            found.update({name: batch.inputs[name] for name in self._inputs})
            start += len(batch)
            yield min(1.0, start / len(self._samples)), found
            if not fixed:  # as many as fit, once it is known what one needs
                one = sum(array.nbytes for array in found.values()) // len(batch)
                fit = int(np.clip(_ACTIVATION_BYTES // max(one, 1), 1, _BATCH))
                size = min(fit, len(self._samples) - start)


def infer(model: bytes, samples: Samples) -> Arrays:
    """Give a model's outputs for all samples, by the names of its outputs."""
    session = session_of(model)
    names = [output.name for output in session.get_outputs()]
    fixed = _fixed_batch(session)
    parts = []
    for start in range(0, len(samples), fixed or _BATCH):
        end = start + fixed if fixed else min(start + _BATCH, len(samples))
        outputs = session.run(names, samples.take(np.arange(start, end) % len(samples)).inputs)
        parts.append([output[: len(samples) - start] for output in outputs])
    return {name: np.concatenate([found[place] for found in parts]) for place, name in enumerate(names)}


def session_of(model: ModelProto | bytes) -> onnxruntime.InferenceSession:
    """Open a model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _fixed_batch(session: onnxruntime.InferenceSession) -> int:
    """Give the number of samples that a model takes, 0 where it is free."""
    sizes = [argument.shape[0] for argument in session.get_inputs() if argument.shape]
    return max((size for size in sizes if isinstance(size, int)), default=0)
