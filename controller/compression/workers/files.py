"""The opener's requests that are about ONNX files: quantized, packed, counted, and what their layers suffer from int8.

No program is open for them: uploaded files are compressed by them too. Inside the sandbox.
"""

from typing import Any

from controller.compression.graphs import counting, packing
from controller.compression.networks.samples import Samples, read_samples
from controller.compression.networks.train import Said, ignore, part
from controller.compression.techniques import quantize as quantizing
from controller.compression.techniques.quantize import MIN_SAMPLES
from controller.compression.techniques.sensitivity import MAX_LAYERS, sensitivities
from controller.compression.workers.requests import File, data_of, named, step_of
from shoal.schemas.recipes import Binarize, Quantize
from shoal.wire.models import Task


def count(model: File, sizes: dict[str, list[int]]) -> dict[str, Any]:
    """Count an ONNX file."""
    return counting.count(data_of(model), sizes)


def quantize(
    model: File,
    step: dict[str, Any],
    calibration: File | None = None,
    signature: dict[str, Any] | None = None,
    dataset: File | None = None,
    task: str = Task.CLASSIFICATION,
    said: Said = ignore,
) -> dict[str, Any]:
    """Give the quantized file of an ONNX file."""
    data = data_of(model)
    wanted = step_of(step, Quantize)
    samples, figures = None, dict[str, Any]()
    if wanted.mode == "static" and calibration is not None:
        samples = _calibration(data, calibration, signature)
        if isinstance(wanted.float_layers, int) and wanted.float_layers:
            judged = _judged(data, dataset, signature)
            found = sensitivities(
                data, samples, judged, task=Task(task), method=wanted.calibration, said=part(said, 0.0, 0.7)
            )
            names = [one.layer for one in found.layers[: wanted.float_layers]]
            wanted = wanted.model_copy(update={"float_layers": names})
            figures, said = {"sensitivity": found.as_dict()["layers"]}, part(said, 0.7, 1.0)
    made = quantizing.quantize(data, wanted, samples, said=said)
    return {"model": made.model, "figures": {**figures, **made.figures}}


def pack(model: File, step: dict[str, Any]) -> dict[str, Any]:
    """Give an ONNX file whose binarized weights are bits."""
    wanted = step_of(step, Binarize)
    packed = packing.pack(data_of(model), are_ends_int8=wanted.ends == "int8")
    figures = {"weights_ratio": packed.weights_ratio, "packed": packed.layers}
    return {"model": packed.model, "figures": figures}


def sensitivity(
    model: File,
    calibration: File,
    dataset: File | None = None,
    task: str = Task.CLASSIFICATION,
    method: str = "minmax",
    most: int = MAX_LAYERS,
    signature: dict[str, Any] | None = None,
    said: Said = ignore,
) -> dict[str, Any]:
    """Tell how much each layer of an ONNX file suffers from int8."""
    data = data_of(model)
    samples = _calibration(data, calibration, signature)
    judged = _judged(data, dataset, signature)
    found = sensitivities(data, samples, judged, task=Task(task), method=method, most=min(most, MAX_LAYERS), said=said)
    return found.as_dict()


def _calibration(
    model: bytes,
    file: File,
    signature: dict[str, Any] | None,
    *,
    noun: str = "calibration",
    least: int = MIN_SAMPLES,
) -> Samples:
    """Read samples for an ONNX file; what they are named after in the model, they are in the file by their order."""
    own = quantizing.file_signature(model)
    given = own if signature is None else named(own, signature)
    samples = read_samples(file, given, noun=noun, least=least)
    names = {theirs.name: ours.name for ours, theirs in zip(own.inputs, given.inputs, strict=True)}
    return Samples({names[name]: array for name, array in samples.inputs.items()}, samples.targets, samples.outputs)


def _judged(model: bytes, dataset: File | None, signature: dict[str, Any] | None) -> Samples | None:
    return None if dataset is None else _calibration(model, dataset, signature, noun="dataset", least=1)
