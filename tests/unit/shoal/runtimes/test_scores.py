"""Scores and agreement by task, against numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest

from shoal.runtimes.model import BadModel
from shoal.runtimes.scores import agreement, score

LOGITS = np.array([[3, 1, 0], [0, 2, 1], [0, 1, 5], [9, 1, 0]], np.float32)


def boxes(*each: list[tuple[list[float], float, int]]) -> dict[str, Any]:
    """Detections of some pictures: box, score, label."""
    most = max(map(len, each))
    found = {
        "boxes": np.zeros((len(each), most, 4), np.float32),
        "scores": np.zeros((len(each), most), np.float32),
        "labels": np.full((len(each), most), -1, np.int64),
    }
    for index, picture in enumerate(each):
        for place, (box, value, label) in enumerate(picture):
            found["boxes"][index, place], found["scores"][index, place] = box, value
            found["labels"][index, place] = label
    return found


def targets_of(found: dict[str, Any]) -> dict[str, Any]:
    return {"y.boxes": found["boxes"], "y.labels": found["labels"]}


def test_accuracy_when_three_of_four_are_right_then_is_three_quarters() -> None:
    assert score("classification", {"o": LOGITS}, {"y": np.array([0, 1, 2, 1])}) == 0.75
    assert score("classification", {"o": LOGITS}, {"y.o": np.eye(3)[[0, 1, 2, 0]]}) == 1.0


def test_r2_when_right_mean_and_worse_then_is_one_zero_and_zero() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0])
    assert score("regression", {"o": y[:, None]}, {"y": y}) == 1.0
    assert score("regression", {"o": np.full((4, 1), 2.5)}, {"y": y}) == 0.0
    assert score("regression", {"o": -y[:, None]}, {"y": y}) == 0.0
    # 1 - (4 * 0.25) / 5
    assert score("regression", {"o": (y + 0.5)[:, None]}, {"y": y}) == pytest.approx(0.8)


def test_r2_when_there_are_several_outputs_then_is_their_mean() -> None:
    y = np.array([1.0, 2.0, 3.0])
    outputs = {"a": y[:, None], "b": np.full((3, 1), 2.0)}
    assert score("regression", outputs, {"y.a": y, "y.b": y}) == pytest.approx(0.5)


def test_roc_when_scores_are_tied_then_counts_half() -> None:
    y = np.array([0, 0, 1, 1])
    assert score("anomaly", {"s": np.array([0.1, 0.2, 0.3, 0.4])}, {"y": y}) == 1.0
    assert score("anomaly", {"s": np.array([[0.4], [0.3], [0.2], [0.1]])}, {"y": y}) == 0.0
    # Of four pairs two are right, one is tied, one is wrong.
    assert score("anomaly", {"s": np.array([0.1, 0.3, 0.3, 0.2])}, {"y": y}) == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_steps_when_some_are_padding_then_those_do_not_count() -> None:
    logits = np.stack([LOGITS, LOGITS])
    y = np.array([[0, 1, 2, 0], [0, 0, -1, -1]])
    assert score("sequence", {"o": logits}, {"y": y}) == pytest.approx(5 / 6)


def test_average_precision_when_a_miss_comes_between_then_is_the_area_under_the_envelope() -> None:
    """Two boxes are wanted; found by falling score: right, wrong, right: precision 1, then 2/3: (1 + 2/3) / 2."""
    square, other, nowhere = [0.0, 0, 10, 10], [20.0, 20, 30, 30], [50.0, 50, 60, 60]
    wanted = boxes([(square, 1, 0), (other, 1, 0)])
    got = boxes([(square, 0.9, 0), (nowhere, 0.8, 0), (other, 0.7, 0)])
    assert score("detection", got, targets_of(wanted)) == pytest.approx((1 + 2 / 3) / 2)
    assert score("detection", wanted, targets_of(wanted)) == 1.0


def test_average_precision_when_a_box_is_found_twice_then_the_second_is_wrong() -> None:
    square = [0.0, 0, 10, 10]
    wanted = boxes([(square, 1, 0)], [(square, 1, 1)])
    got = boxes([(square, 0.5, 0), (square, 0.9, 0)], [])
    assert score("detection", got, targets_of(wanted)) == pytest.approx((1.0 + 0.0) / 2)


def test_box_when_it_covers_less_than_half_then_is_not_found() -> None:
    wanted = boxes([([0.0, 0, 10, 10], 1, 0)])
    for height, found in ((5.0, 1.0), (4.9, 0.0)):
        assert score("detection", boxes([([0.0, 0, 10, height], 0.9, 0)]), targets_of(wanted)) == found


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "code"),
    [
        ("poetry", {"o": LOGITS}, {"y": np.zeros(4)}, "task.unknown"),
        ("classification", {"o": LOGITS}, {}, "score.does_not_fit"),
        ("classification", {"o": LOGITS}, {"y": np.zeros(3)}, "score.does_not_fit"),
        ("classification", {"o": LOGITS[:, :1]}, {"y": np.zeros(4)}, "score.does_not_fit"),
        ("regression", {"o": LOGITS}, {"y": np.zeros(4)}, "score.does_not_fit"),
        ("anomaly", {"o": LOGITS[:, 0]}, {"y": np.zeros(4)}, "score.does_not_fit"),
        ("sequence", {"o": LOGITS[None]}, {"y": np.full((1, 4), -1)}, "score.does_not_fit"),
        ("detection", {"o": LOGITS}, {"y": np.zeros(4)}, "score.does_not_fit"),
    ],
)
def test_score_when_it_cannot_be_told_then_is_refused_by_name(
    task: str, outputs: dict[str, Any], targets: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadModel) as caught:
        score(task, outputs, targets)
    assert caught.value.code == code


# ---------------------------------------------------------------- agreement


def test_labels_when_one_of_four_differs_then_three_quarters_agree() -> None:
    got = LOGITS.copy()
    got[3] = [0, 1, 0]
    assert agreement("classification", {"o": got}, {"o": LOGITS}) == 0.75


def test_classification_when_a_second_output_is_far_off_then_does_not_agree() -> None:
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    near, far = features + 0.1, features + np.array([[0], [0], [0], [3]], np.float32)
    expected = {"o": LOGITS, "features": features}
    assert agreement("classification", {"o": LOGITS, "features": near}, expected) == 1.0
    assert agreement("classification", {"o": LOGITS, "features": far}, expected) == 0.75


@pytest.mark.parametrize("task", ["regression", "anomaly"])
def test_values_when_within_a_twentieth_of_the_range_then_agree(task: str) -> None:
    expected = np.array([[0.0], [10.0], [5.0], [2.0]])
    got = expected + np.array([[0.49], [-0.49], [0.51], [0.0]])
    assert agreement(task, {"o": got}, {"o": expected}) == 0.75


def test_values_when_all_are_equal_then_a_small_share_of_them_is_the_range() -> None:
    expected = np.full((4, 1), 100.0)
    assert agreement("regression", {"o": expected + 0.04}, {"o": expected}) == 1.0
    assert agreement("regression", {"o": expected + 0.06}, {"o": expected}) == 0.0


def test_steps_when_compared_then_the_share_of_equal_ones_counts() -> None:
    got = LOGITS.copy()
    got[0] = [0, 1, 0]
    assert agreement("sequence", {"o": got[None]}, {"o": LOGITS[None]}) == 0.75


def test_detections_when_compared_then_each_of_both_has_to_be_found() -> None:
    square, other = [0.0, 0, 10, 10], [20.0, 20, 30, 30]
    expected = boxes([(square, 0.9, 0), (other, 0.8, 1)], [])
    assert agreement("detection", expected, expected) == 1.0
    missing = boxes([(square, 0.9, 0), (other, 0.3, 1)], [])
    # Of the first picture three are looked for, two of ours and theirs are found.
    assert agreement("detection", missing, expected) == pytest.approx((2 / 3 + 1) / 2)
    hesitating = boxes([(square, 0.9, 0), (other, 0.45, 1)], [])
    assert agreement("detection", hesitating, expected) == 1.0
