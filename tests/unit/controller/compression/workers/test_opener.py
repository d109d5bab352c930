"""What the opener answers, request by request; and how its progress reaches whoever asked."""

import socket
import threading
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from controller.compression.workers.opener import Opener, serve
from shoal.runtimes.frames import read_frame, write_frame
from shoal.schemas.recipes import Distill, Prune, Quantize, Training
from shoal.training.programs import weights_of
from shoal.wire.models import Datatype, Signature, TensorSpec
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests.nets import dataset_bytes, digits, digits_onnx, program_bytes

QUICK = Training(epochs=1).model_dump()
HUGE = encode_tensors({"x": np.full((8, 1, 8, 8), 3e38, np.float32), "y": np.zeros(8, np.int64)})


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    trained = digits()
    return {
        "program": program_bytes(trained.program),
        "weights": encode_tensors(weights_of(trained.program.module(check_guards=False))),
        "training": dataset_bytes(trained.train.take(slice(0, 300))),
        "test": dataset_bytes(trained.test),
    }


@pytest.fixture
def opener(files: dict[str, bytes]) -> Opener:
    opener = Opener()
    signature = msgspec.to_builtins(digits().signature)
    opened = opener.answer({"op": "open", "program": files["program"], "signature": signature})
    assert opened == {"ok": True, **signature}
    return opener


def test_step_when_applied_then_gives_a_program_that_can_be_opened_measured_and_exported(
    opener: Opener, files: dict[str, bytes]
) -> None:
    step = Prune(keep=0.6, training=Training(epochs=2)).model_dump()
    counted = opener.answer({"op": "cost"})
    before = opener.answer({"op": "evaluate", "weights": files["weights"], "dataset": files["test"]})
    made = opener.answer({"op": "apply", "step": step, "weights": files["weights"], "training": files["training"]})
    assert (made["ok"], made["figures"]["macs_before"]) == (True, counted["macs"])
    after = Opener()
    assert after.answer({"op": "open", "program": made["program"]})["inputs"][0]["name"] == "input"
    assert after.answer({"op": "cost"})["macs"] == made["figures"]["macs"] == made["macs"]
    measured = after.answer({"op": "evaluate", "weights": made["weights"], "dataset": files["test"]})
    assert measured["accuracy"] > before["accuracy"] - 0.05
    assert (measured["samples"], measured["loss"] < 1) == (397, True)
    exported = after.answer({"op": "export", "weights": made["weights"]})
    assert len(exported["model"]) < 0.8 * len(digits_onnx())
    in_file = after.answer({"op": "count", "model": exported["model"], "sizes": {"input": [1, 8, 8]}})
    assert in_file["macs"] == made["macs"]


def test_file_when_given_by_its_path_then_is_the_same_as_by_bytes(
    opener: Opener, files: dict[str, bytes], tmp_path: Any
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    asked = {"op": "evaluate", "weights": files["weights"], "dataset": files["test"]}
    by_path = {"op": "evaluate", "weights": str(tmp_path / "weights"), "dataset": str(tmp_path / "test")}
    assert opener.answer(asked) == opener.answer(by_path)


def test_float_layers_when_counted_then_are_the_most_sensitive_ones(files: dict[str, bytes]) -> None:
    step = Quantize(float_layers=2).model_dump()
    asked = {"op": "quantize", "model": digits_onnx(), "step": step, "calibration": files["training"]}
    made = Opener().answer(asked)
    found = Opener().answer({"op": "sensitivity", "model": digits_onnx(), "calibration": files["training"]})
    names = [one["layer"] for one in found["layers"]]
    assert len(names) == 5
    assert made["figures"]["float_layers"] == names[:2]
    assert [one["drop"] for one in made["figures"]["sensitivity"]] == [None] * 5
    judged = Opener().answer({**asked, "dataset": files["test"], "task": "classification"})["figures"]
    assert [one["layer"] for one in judged["sensitivity"]] == names
    assert all(abs(one["drop"]) < 0.05 for one in judged["sensitivity"])


def test_student_when_its_teacher_does_not_help_then_is_refused(opener: Opener, files: dict[str, bytes]) -> None:
    step = Distill(width=0.25, temperatures=[100.0], weights=[1.0], training=Training(epochs=1, learning_rate=0.05))
    asked = {"op": "apply", "step": step.model_dump(), "weights": files["weights"], "training": files["training"]}
    assert opener.answer(asked)["code"] == "distill.no_gain"


class Pair(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)
        self.sum, self.gap = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.relu(self.left(a) + self.right(b))
        return self.sum(both), self.gap(both)


def test_program_when_it_has_several_inputs_and_outputs_then_is_pruned_and_measured_by_their_names() -> None:
    torch.manual_seed(0)
    batch = Dim("batch")
    program = torch.export.export(
        Pair().eval(), (torch.zeros(2, 3), torch.zeros(2, 2)), dynamic_shapes=({0: batch}, {0: batch})
    )
    signature = Signature(
        [TensorSpec("speed", Datatype.FP32, [-1, 3]), TensorSpec("load", Datatype.FP32, [-1, 2])],
        [TensorSpec("wear", Datatype.FP32, [-1, 1]), TensorSpec("heat", Datatype.FP32, [-1, 1])],
    )
    random = np.random.default_rng(0)
    x = {"x.load": random.normal(size=(200, 2)), "x.speed": random.normal(size=(200, 3))}
    y = {"y.heat": x["x.load"].sum(1, keepdims=True), "y.wear": x["x.speed"].sum(1, keepdims=True)}
    data = encode_tensors({name: array.astype(np.float32) for name, array in {**x, **y}.items()})
    weights = encode_tensors(weights_of(program.module(check_guards=False)))
    opener, named = Opener(), msgspec.to_builtins(signature)
    assert opener.answer({"op": "open", "program": program_bytes(program), "signature": named})["ok"]
    step = Prune(method="magnitude", keep=1.0, target="weights", training=Training(epochs=60, learning_rate=0.05))
    asked = {"op": "apply", "step": step.model_dump(), "weights": weights, "training": data, "task": "regression"}
    made = opener.answer(asked)
    scores = [
        opener.answer({"op": "evaluate", "weights": one, "dataset": data, "task": "regression"})["accuracy"]
        for one in (weights, made["weights"])
    ]
    assert scores[0] < 0.5
    assert scores[1] > 0.9
    file = opener.answer({"op": "export", "weights": made["weights"]})["model"]
    step_int8 = Quantize().model_dump()
    calibrated = {"op": "quantize", "model": file, "step": step_int8, "calibration": data, "signature": named}
    assert Opener().answer(calibrated)["ok"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"op": "apply", "step": {"op": "melt"}}, "recipe.bad_step"),
        ({"op": "apply", "step": Quantize().model_dump()}, "recipe.bad_step"),
        ({"op": "apply", "step": {"op": "distill", "width": None, "student": 3}}, "recipe.bad_step"),
        ({"op": "apply", "step": {"op": "binarize", "training": QUICK}, "training": HUGE}, "training.diverged"),
        ({"op": "apply", "step": {"op": "distill"}, "task": "anomaly"}, "recipe.unsupported_task"),
        ({"op": "apply", "step": {"op": "prune", "keep": 0.0001}}, "prune.out_of_reach"),
        ({"op": "apply", "step": {"op": "prune"}, "training": encode_tensors({"z": np.zeros(3)})}, "training.missing"),
        (
            {"op": "apply", "step": {"op": "prune"}, "weights": encode_tensors({"w": np.zeros(3)})},
            "model.weights_mismatch",
        ),
        ({"op": "quantize", "model": b"none", "step": Quantize().model_dump()}, "quantize.failed"),
        ({"op": "pack", "model": b"none", "step": Quantize().model_dump()}, "recipe.bad_step"),
        ({"op": "dance"}, "request.invalid"),
        ({"op": "export"}, "request.invalid"),
    ],
)
def test_request_when_it_cannot_be_done_then_is_refused_by_name(
    opener: Opener, files: dict[str, bytes], asked: dict[str, Any], code: str
) -> None:
    usual = {"weights": files["weights"], "training": files["training"]} if asked["op"] == "apply" else {}
    assert opener.answer({**usual, **asked})["code"] == code


def test_calibration_when_too_small_then_is_refused_before_anything_starts() -> None:
    few = encode_tensors({"x": digits().train.inputs["input"][:7]})
    answer = Opener().answer(
        {"op": "quantize", "model": digits_onnx(), "step": Quantize().model_dump(), "calibration": few}
    )
    assert answer["code"] == "calibration.too_few"


def test_progress_when_asked_for_then_comes_before_the_answer_and_otherwise_not(files: dict[str, bytes]) -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    asked = {
        "op": "quantize",
        "model": digits_onnx(),
        "step": Quantize().model_dump(),
        "calibration": files["training"],
    }
    shares = []
    write_frame(ours, {**asked, "progress": True})
    while "progress" in (frame := read_frame(ours) or {}):
        shares.append(frame["progress"])
    assert shares == sorted(shares)
    assert len(shares) > 3
    write_frame(ours, asked)
    again = read_frame(ours) or {}
    assert (frame["ok"], again["model"]) == (True, frame["model"])
    ours.close()
    thread.join(10)
    theirs.close()


def test_labels_when_there_are_none_then_the_net_learns_from_itself(opener: Opener, files: dict[str, bytes]) -> None:
    x = {"x": decode_tensors(files["training"])["x"]}
    step = Prune(keep=0.7, training=Training(epochs=3)).model_dump()
    made = opener.answer({"op": "apply", "step": step, "weights": files["weights"], "training": encode_tensors(x)})
    assert made["figures"]["lesson"] == "imitation"
    after = Opener()
    after.answer({"op": "open", "program": made["program"]})
    measured = after.answer({"op": "evaluate", "weights": made["weights"], "dataset": files["test"]})
    assert measured["accuracy"] > 0.9
