"""Recipes, tensors and figures of variants in words. Pure; what it does not know is said as it came."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboard import format, wording
from dashboard.components.trade_off import Candidate, front_of
from shoal.schemas.artifacts import Variant
from shoal.schemas.jobs import Trial
from shoal.schemas.signatures import TensorSpec

_FIXED: Final = {
    "fp32": "as it is, in float32",
    "fp16": "weights and activations in float16",
    "int8": "static int8, calibrated",
    "int8-dynamic": "dynamic int8",
}
_OF: Final = {"macs": "multiply-accumulates", "size": "bytes", "latency": "latency", "weights": "weights"}


def recipe(name: str, steps: Sequence[Mapping[str, Any]]) -> str:
    """Say what a recipe does.

    >>> recipe("half", [{"op": "prune", "keep": 0.5, "target": "macs"}, {"op": "quantize", "mode": "static"}])
    'prune channels to 50% of the multiply-accumulates, then static int8 (minmax)'
    >>> recipe("fp32", [])
    'as it is, in float32'
    """
    return ", then ".join(step(one) for one in steps) if steps else _FIXED.get(name, "as it is")


def step(told: Mapping[str, Any]) -> str:
    """Say what a step does.

    >>> step({"op": "distill", "width": 0.25}), step({"op": "binarize", "ends": "float"})
    ('distill into a student of width 0.25', 'binarize, ends in float')
    """
    op = str(told.get("op", "?"))
    if op == "prune":
        kind = "channels" if told.get("method", "channels") == "channels" else "single weights"
        target = str(told.get("target", "macs"))
        return f"prune {kind} to {_float(told.get('keep', 0.5)) * 100:.3g}% of the {_OF.get(target, target)}"
    if op == "distill":
        student = told.get("student")
        return f"distill into version {student}" if student else f"distill into a student of width {told.get('width')}"
    if op == "binarize":
        return f"binarize, ends in {told.get('ends', 'int8')}"
    if op == "quantize":
        return _quantize(told)
    return op


def preprocessing(told: Mapping[str, Any]) -> str:
    """Say what a step does to raw data.

    >>> preprocessing({"op": "resize", "width": 224, "height": 224, "fit": "cover"})
    'resize to 224 × 224 (cover)'
    >>> preprocessing({"op": "normalize", "mean": [0.5], "std": [0.25]})
    'normalize (mean 0.5, std 0.25)'
    """
    op = str(told.get("op", "?"))
    if op in ("resize", "crop"):
        fit = told.get("fit", "stretch")
        return f"{op} to {told.get('width')} × {told.get('height')}{f' ({fit})' if op == 'resize' else ''}"
    if op in ("colour", "layout"):
        return f"{op} {told.get('order')}"
    if op == "scale":
        offset = told.get("offset") or 0
        return f"times {_float(told.get('factor', 1)):.6g}{f', plus {offset:.6g}' if offset else ''}"
    if op == "normalize":
        return f"normalize (mean {_list(told.get('mean'))}, std {_list(told.get('std'))})"
    if op == "window":
        return f"windows of {told.get('length')}, each {told.get('step')} further"
    return op


def tensor(spec: TensorSpec) -> str:
    """Say what a tensor is like."""
    return (
        f"{spec.name}: {' × '.join('any' if size == -1 else str(size) for size in spec.shape)}, {spec.datatype.value}"
    )


def of_variants(variants: Sequence[Variant]) -> list[Candidate]:
    """Give the variants of a version as points of a trade-off, coloured by runtime."""
    front = front_of([(float(one.size_bytes), one.latency_p50_ms, one.accuracy) for one in variants])
    return [
        Candidate(
            name=one.recipe,
            group=wording.runtime(one.runtime),
            size_bytes=one.size_bytes,
            score=one.accuracy,
            latency_ms=one.latency_p50_ms,
            told=_told(one.recipe, one.recipe_steps, one.runtime, one.size_bytes, one.accuracy, one.latency_p50_ms),
            is_on_front=is_front,
        )
        for one, is_front in zip(variants, front, strict=True)
    ]


def of_trials(trials: Sequence[Trial]) -> list[Candidate]:
    """Give the trials that were measured as points of a trade-off, coloured by runtime."""
    found = []
    for one in trials:
        size, score, latency = (one.figures.get(name) for name in ("size_bytes", "accuracy", "latency_p50_ms"))
        if isinstance(size, int) and isinstance(score, int | float) and isinstance(latency, int | float):
            found.append(
                Candidate(
                    name=one.recipe,
                    group=wording.runtime(one.runtime),
                    size_bytes=size,
                    score=float(score),
                    latency_ms=float(latency),
                    told=_told(one.recipe, one.steps, one.runtime, size, float(score), float(latency)),
                    is_on_front=one.is_on_front,
                )
            )
    return found


def figure(name: str, value: Any) -> str:
    """Say one of the figures of a lineage.

    >>> figure("size_bytes", 2048), figure("accuracy", 0.991), figure("libraries", {"onnx": "1.2"})
    ('size 2.0 KiB', 'accuracy 99.1%', 'onnx 1.2')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{part} {version}" for part, version in value.items())
    if name == "size_bytes":
        return f"size {format.size(int(value))}"
    if name.endswith("_ms") and isinstance(value, int | float):
        return f"{name.removesuffix('_ms').replace('_', ' ')} {format.milliseconds(value)}"
    if isinstance(value, float) and 0 <= value <= 1:
        return f"{name.replace('_', ' ')} {format.ratio(value)}"
    return f"{name.replace('_', ' ')} {value}"


def _quantize(told: Mapping[str, Any]) -> str:
    mode = str(told.get("mode", "static"))
    said = "float16" if mode == "fp16" else f"{mode} int8"
    if mode == "static":
        said += f" ({told.get('calibration', 'minmax')})"
    if told.get("aware"):
        said += ", fine-tuned for it"
    layers = told.get("float_layers") or 0
    if layers:
        many = len(layers) if isinstance(layers, list) else layers
        said += f", {many} layer{'s' if many != 1 else ''} in float"
    return said


def _told(
    name: str, steps: Sequence[Mapping[str, Any]], runtime: str, size_bytes: int, score: float, latency_ms: float
) -> str:
    figures = f"{format.size(size_bytes)}, {score:.2%}, {format.milliseconds(latency_ms)}"
    return f"{name} for {wording.runtime(runtime)}\n{recipe(name, steps)}\n{figures}"


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _list(value: Any) -> str:
    return ", ".join(f"{one:.4g}" for one in value) if isinstance(value, list) else f"{_float(value):.4g}"
