"""How much each layer suffers from int8: one layer after the other is quantized alone, all else stays in float.

What stays in float in a mixed-precision variant is chosen by this. Source: Wu et al. 2020, section 6.1 and figure 4,
arXiv:2004.09602, which quantizes one layer at a time likewise.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from onnx import numpy_helper

from controller.compression.graphs.calibrate import infer, ranges_of
from controller.compression.networks.samples import Arrays, Samples
from controller.compression.networks.train import Said, ignore, part
from controller.compression.techniques.quantize import Prepared, prepare, static
from shoal.runtimes.scores import score
from shoal.wire.models import Task

MAX_SAMPLES: Final = 256  # for each evaluation
MAX_LAYERS: Final = 64
_EPSILON: Final = 1e-12


@dataclass(frozen=True)
class LayerSensitivity:
    """A layer with what int8 does to the model if it alone has it.

    Attributes:
        kind: The operator.
        drop: Of the score, 0..1; None without labelled samples.
        noise: Mean square of the outputs' error by their variance.
        weight_bytes: Of the layer in float32: what it costs to leave it there.
    """

    layer: str
    kind: str
    drop: float | None
    noise: float
    weight_bytes: int


@dataclass(frozen=True)
class Sensitivities:
    """The layers, the noisiest first: a drop of so few samples is too coarse to be an order.

    Attributes:
        score: Of the float model; None without labelled samples.
        evaluations: How often the model was run over the samples.
    """

    layers: list[LayerSensitivity]
    score: float | None
    evaluations: int

    def as_dict(self) -> dict[str, Any]:
        """Give it for a frame."""
        return asdict(self)


def sensitivities(
    model: bytes,
    calibration: Samples,
    dataset: Samples | None = None,
    *,
    task: Task = Task.CLASSIFICATION,
    method: str = "minmax",
    most: int = MAX_LAYERS,
    said: Said = ignore,
) -> Sensitivities:
    """Measure the layers of an ONNX file.

    Args:
        calibration: For the ranges, and for the noise.
        dataset: With labels, for the drop of the score.
        most: At most so many layers are measured, those whose weights lose the most by rounding.

    Raises:
        Refused: `quantize.failed`, `quantize.nothing`, `calibration.not_finite`.
        shoal.runtimes.model.BadModel: `score.does_not_fit`.
    """
    prepared = prepare(model)
    ranges = ranges_of(
        prepared.model.SerializeToString(), prepared.tensors, calibration, method, said=part(said, 0.0, 0.2)
    )
    seen = calibration.take(slice(0, MAX_SAMPLES))
    judged = None if dataset is None else dataset.take(slice(0, MAX_SAMPLES))
    plain = prepared.model.SerializeToString()
    exact = infer(plain, seen)
    reached = None if judged is None else _score(task, plain, judged)
    found = []
    names = _roughest(prepared, most)
    for number, (name, kind, weight_bytes) in enumerate(names):
        alone = static(prepared, ranges, only=[name])
        drop = None if judged is None or reached is None else reached - _score(task, alone, judged)
        found.append(LayerSensitivity(name, kind, drop, noise(infer(alone, seen), exact), weight_bytes))
        said(0.2 + 0.8 * (number + 1) / len(names), f"Layer {number + 1} of {len(names)}: {name}.")
    found.sort(key=lambda one: -one.noise)
    return Sensitivities(found, reached, len(names) + 1)


def noise(outputs: Arrays, exact: Arrays) -> float:
    """Give the mean square of the error by the variance, the worst of all float outputs.

    >>> round(noise({"y": np.array([1.0, 2.2])}, {"y": np.array([1.0, 2.0])}), 4)
    0.08
    """
    found = [
        float(((outputs[name] - array) ** 2).mean() / (array.var() + _EPSILON))
        for name, array in exact.items()
        if array.dtype.kind == "f"
    ]
    return max(found, default=0.0)


def _score(task: Task, model: bytes, samples: Samples) -> float:
    outputs = infer(model, samples)
    return score(task, dict(zip(samples.outputs, outputs.values(), strict=False)), samples.targets)


def _roughest(prepared: Prepared, most: int) -> list[tuple[str, str, int]]:
    """Give at most so many layers with operator and bytes, those first that lose the most by rounding."""
    nodes = {node.name: node for node in prepared.model.graph.node}
    weights = {tensor.name: tensor for tensor in prepared.model.graph.initializer}
    found = []
    for name, node_name in prepared.layers.items():
        node = nodes[node_name]
        weight = numpy_helper.to_array(weights[node.input[1]]).astype(np.float32)
        step = np.abs(weight).max() / 127 + _EPSILON
        lost = float(((np.round(weight / step) * step - weight) ** 2).sum() / ((weight**2).sum() + _EPSILON))
        found.append((lost, name, node.op_type, weight.size * 4))
    found.sort(reverse=True)
    return [(name, kind, size) for _, name, kind, size in found[:most]]
