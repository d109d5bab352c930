"""How good a model's answers are, and how alike two models' answers: one figure each, 0..1, by the task.

| task | score, the first output against `y` | agreement, share of samples |
| --- | --- | --- |
| classification | accuracy of [n, classes] | the same label; what else it gives is close |
| regression | R2, clipped at 0, mean of the outputs' elements | every output is close |
| anomaly | area under the ROC curve of [n] or [n, 1]; `y` is 1 where it is one | every output is close |
| detection | mean average precision at IoU 0.5 of `boxes` [n, k, 4], `scores`, `labels` [n, k] | boxes found of both |
| sequence | accuracy of the steps of [n, steps, classes]; `y` below 0 does not count | steps with the same label |

A number is close if it differs by at most 5 % of the range that is expected over all samples: int8 has 255 steps, and
some of them are lost on the way through a net. A detection with the label -1 is none: k is the same for all samples.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.runtimes.model import Array, BadModel
from shoal.wire.models import Task

Outputs = Mapping[str, Array]
Floats = NDArray[np.float64]

_CLOSE: Final = 0.05
_LEAST_RANGE: Final = 0.01  # of the largest value: answers that hardly differ have hardly a range
_ROUNDING: Final = 1e-6
_MIN_IOU: Final = 0.5
_CONFIDENT: Final = 0.5  # a detection that has to be found by the other model, too
_NEARLY: Final = 0.4  # and there with this score at least, as a threshold cuts at random


def score(task: str, outputs: Outputs, targets: Outputs) -> float:
    """Give how good answers are, 0..1, higher is better.

    Args:
        outputs: In the order of the signature.
        targets: As in a data set: `y`, or `y.<output>` for each of several outputs.

    Raises:
        BadModel: `task.unknown`, `score.does_not_fit`.
    """
    return _SCORES[_known(task)](outputs, targets)


def agreement(task: str, outputs: Outputs, expected: Outputs) -> float:
    """Give how alike answers are to what was expected, 0..1; all arrays have the shapes that are expected.

    Args:
        outputs: In the order of the signature.

    Raises:
        BadModel: `task.unknown`, `score.does_not_fit`.
    """
    return _AGREEMENTS[_known(task)](outputs, expected)


def _known(task: str) -> Task:
    try:
        return Task(task)
    except ValueError as error:
        raise BadModel("task.unknown", f"There is no task {task[:40]!r}; there are: {', '.join(Task)}.") from error


# ---------------------------------------------------------------- scores


def _accuracy(outputs: Outputs, targets: Outputs) -> float:
    values, wanted = _first(outputs, targets)
    labels = _labels(values, 2)
    return float((labels == _as_labels(wanted, labels)).mean())


def _steps_accuracy(outputs: Outputs, targets: Outputs) -> float:
    values, wanted = _first(outputs, targets)
    labels = _labels(values, 3)
    wanted = _as_labels(wanted, labels)
    counted = wanted >= 0
    if not counted.any():
        raise _does_not_fit("No step has a label.")
    return float((labels == wanted)[counted].mean())


def _r2(outputs: Outputs, targets: Outputs) -> float:
    each = []
    for name, wanted in _named_targets(outputs, targets).items():
        got, meant = _flat(outputs[name]), _flat(wanted)
        if got.shape != meant.shape:
            raise _does_not_fit(f"{name} has shape {list(outputs[name].shape)}, wanted is {list(wanted.shape)}.")
        rest = ((meant - got) ** 2).sum(axis=0)
        spread = ((meant - meant.mean(axis=0)) ** 2).sum(axis=0)
        # Where nothing varies, to be right is all and to be wrong is nothing.
        each.append(np.where(spread > 0, 1 - rest / np.where(spread > 0, spread, 1), (rest == 0).astype(np.float64)))
    return float(np.clip(np.concatenate(each).mean(), 0.0, 1.0))


def _area_under_roc(outputs: Outputs, targets: Outputs) -> float:
    """The chance that an anomaly has a higher score than what is none, ties counted half.

    Source: Fawcett 2006, An introduction to ROC analysis, section 7.
    """
    values, wanted = _first(outputs, targets)
    scores, is_one = values.reshape(-1), wanted.reshape(-1) > 0
    if len(scores) != len(is_one):
        raise _does_not_fit("An anomaly model gives one score a sample.")
    ones = int(is_one.sum())
    if not 0 < ones < len(is_one):
        raise _does_not_fit("Samples with and without an anomaly are needed.")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[is_one].sum() - ones * (ones + 1) / 2) / (ones * (len(is_one) - ones)))


def _mean_average_precision(outputs: Outputs, targets: Outputs) -> float:
    """Area under the precision envelope, a class at a time.

    Source: Everingham et al. 2010, section 4.2, with all points of the curve (VOC 2010 and later).
    """
    boxes, scores, labels = _detections(outputs)
    wanted = {name.removeprefix("y."): array for name, array in targets.items()}
    if not {"boxes", "labels"} <= wanted.keys():
        raise _does_not_fit("A detection data set has y.boxes and y.labels.")
    meant_boxes, meant_labels = wanted["boxes"], wanted["labels"]
    classes = np.unique(meant_labels[meant_labels >= 0])
    if not classes.size:
        raise _does_not_fit("No box has a label.")
    precisions = []
    for label in classes:
        found: list[tuple[float, bool]] = []
        for index in range(len(boxes)):
            mine = np.flatnonzero(labels[index] == label)
            mine = mine[np.argsort(-scores[index][mine], kind="stable")]
            is_found = _matched(boxes[index][mine], meant_boxes[index][meant_labels[index] == label])
            found += zip(scores[index][mine].tolist(), is_found, strict=True)
        precisions.append(_average_precision(found, int((meant_labels == label).sum())))
    return float(np.mean(precisions))


def _average_precision(found: list[tuple[float, bool]], wanted: int) -> float:
    hits = np.array([hit for _, hit in sorted(found, key=lambda one: -one[0])], dtype=np.float64)
    if not hits.size:
        return 0.0
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / wanted)


# ---------------------------------------------------------------- agreement


def _same_labels(outputs: Outputs, expected: Outputs) -> float:
    name, *others = outputs
    same = _labels(outputs[name], 2) == _labels(expected[name], 2)
    for other in others:
        same &= _close(outputs[other], expected[other])
    return float(same.mean())


def _same_steps(outputs: Outputs, expected: Outputs) -> float:
    name = next(iter(outputs))
    return float((_labels(outputs[name], 3) == _labels(expected[name], 3)).mean())


def _same_values(outputs: Outputs, expected: Outputs) -> float:
    same = [_close(outputs[name], expected[name]) for name in outputs]
    return float(np.logical_and.reduce(same).mean())


def _same_boxes(outputs: Outputs, expected: Outputs) -> float:
    got, meant = _detections(outputs), _detections(expected)
    shares = []
    for index in range(len(got[0])):
        ours, theirs = [tuple(part[index] for part in parts) for parts in (got, meant)]
        there, here = _found_in(theirs, ours), _found_in(ours, theirs)
        every = there + here
        shares.append(float(np.mean(every)) if every else 1.0)
    return float(np.mean(shares))


def _found_in(these: tuple[Array, ...], others: tuple[Array, ...]) -> list[bool]:
    """Tell for each confident detection whether the others have it."""
    boxes, scores, labels = these
    found: list[bool] = []
    for label in np.unique(labels[(labels >= 0) & (scores >= _CONFIDENT)]):
        mine = (labels == label) & (scores >= _CONFIDENT)
        theirs = (others[2] == label) & (others[1] >= _NEARLY)
        found += _matched(boxes[mine], others[0][theirs])
    return found


# ---------------------------------------------------------------- parts


def _first(outputs: Outputs, targets: Outputs) -> tuple[Array, Array]:
    name = next(iter(outputs))
    wanted = targets.get(f"y.{name}", targets.get("y"))
    if wanted is None or len(wanted) != len(outputs[name]):
        raise _does_not_fit(f"There is no y, or no y.{name}, with as many samples as {name} has.")
    return outputs[name], wanted


def _named_targets(outputs: Outputs, targets: Outputs) -> dict[str, Array]:
    named = {name: targets[f"y.{name}"] for name in outputs if f"y.{name}" in targets}
    if not named:
        named = {next(iter(outputs)): _first(outputs, targets)[1]}
    return named


def _labels(values: Array, axes: int) -> NDArray[np.intp]:
    if values.ndim != axes or values.shape[-1] < 2:
        raise _does_not_fit(f"The first output has shape {list(values.shape)}: classes are its last axis of {axes}.")
    found: NDArray[np.intp] = values.argmax(axis=-1)
    return found


def _as_labels(wanted: Array, labels: NDArray[np.intp]) -> Array:
    """Give labels as numbers, whether they came so or as one vector a label."""
    numbers = wanted.argmax(axis=-1) if wanted.ndim == labels.ndim + 1 else wanted
    if numbers.shape != labels.shape:
        raise _does_not_fit(f"y has shape {list(wanted.shape)}, the labels have {list(labels.shape)}.")
    return numbers


def _flat(values: Array) -> Floats:
    return values.reshape(len(values), -1).astype(np.float64)


def _close(got: Array, expected: Array) -> NDArray[np.bool_]:
    mine, meant = _flat(got), _flat(expected)
    reach = max(float(np.ptp(meant)), _LEAST_RANGE * float(np.abs(meant).max())) if meant.size else 0.0
    differences = np.abs(mine - meant).mean(axis=1) if meant.size else np.zeros(len(meant))
    return np.asarray(differences <= _CLOSE * reach + _ROUNDING)


def _detections(outputs: Outputs) -> tuple[Array, Array, Array]:
    try:
        boxes, scores, labels = (outputs[name] for name in ("boxes", "scores", "labels"))
    except KeyError as error:
        raise _does_not_fit("A detection model has the outputs boxes, scores and labels.") from error
    if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.shape != boxes.shape[:2] or labels.shape != scores.shape:
        raise _does_not_fit("boxes are [samples, k, 4]; scores and labels are [samples, k].")
    return boxes, scores, labels


def _matched(boxes: Array, meant: Array) -> list[bool]:
    """Give each box, in this order, the free meant one that it covers best; True where that is enough."""
    overlaps = _overlaps(boxes.astype(np.float64), meant.astype(np.float64))
    found = []
    for overlap in overlaps:
        best = int(overlap.argmax()) if overlap.size else -1
        is_found = best >= 0 and bool(overlap[best] >= _MIN_IOU)
        if is_found:
            overlaps[:, best] = -1
        found.append(is_found)
    return found


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union of each with each; corners in any order of the axes, the same for both."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(one[:, 2:] - one[:, :2], 0, None).prod(axis=1) for one in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def _does_not_fit(message: str) -> BadModel:
    return BadModel("score.does_not_fit", message)


_SCORES: Final[Mapping[Task, Callable[[Outputs, Outputs], float]]] = {
    Task.CLASSIFICATION: _accuracy,
    Task.REGRESSION: _r2,
    Task.DETECTION: _mean_average_precision,
    Task.ANOMALY: _area_under_roc,
    Task.SEQUENCE: _steps_accuracy,
}
_AGREEMENTS: Final[Mapping[Task, Callable[[Outputs, Outputs], float]]] = {
    Task.CLASSIFICATION: _same_labels,
    Task.REGRESSION: _same_values,
    Task.DETECTION: _same_boxes,
    Task.ANOMALY: _same_values,
    Task.SEQUENCE: _same_steps,
}
