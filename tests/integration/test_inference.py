"""The controller's own runner of variants, each in a real sandboxed process."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from controller.artifacts.tables import ModelRow, VariantRow
from controller.blobs import BlobStore
from controller.errors import Invalid, ShoalError, Unavailable
from controller.inference import service
from shoal.schemas.inference import InferInput, InferRequest
from shoal.wire.runtimes import available_runtimes
from tests.conftest import require
from tests.models import WEIGHTS, linear_onnx, samples
from tests.rig import children_of, wait_for
from tests.runtime_files import LINEAR, PAIR, eim, identity_onnx, linear_tflite, pair_onnx


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[BlobStore]:
    service.open_runners(tmp_path / "state", allow_unisolated=True)
    yield BlobStore((tmp_path / "blobs").as_uri())
    service.close_runners()
    wait_for(lambda: not sandboxes())


def sandboxes() -> list[psutil.Process]:
    """The outermost process of each runner."""
    return children_of(os.getpid(), "controller.jobs.confine")


def variant(blobs: BlobStore, data: bytes = linear_onnx(), runtime: str = "onnxruntime") -> VariantRow:
    sha256, size = blobs.put_bytes(data)
    return VariantRow(id="v", sha256=sha256, size_bytes=size, runtime=runtime)


def model(**changes: Any) -> ModelRow:
    declared = {"signature": msgspec.to_builtins(LINEAR), "preprocessing": [], **changes}
    return ModelRow(name="linear", **declared)


def request(x: NDArray[np.float32], **changes: Any) -> InferRequest:
    tensor = {"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist(), **changes}
    return InferRequest(id="7", inputs=[InferInput.model_validate(tensor)])


def infer(blobs: BlobStore, row: VariantRow, x: NDArray[np.float32]) -> NDArray[np.float32]:
    answer = service.infer(blobs, row, model(), 3, request(x))
    (output,) = answer.outputs
    assert (answer.model_name, answer.model_version, answer.id) == ("linear", "3", "7")
    assert (output["name"], output["datatype"]) == ("output", "FP32")
    return np.asarray(output["data"], np.float32).reshape(output["shape"])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_variant_when_asked_twice_then_answers_from_one_warm_runner(blobs: BlobStore, runtime: str) -> None:
    """float32 sums of four products: 1e-5 covers any order of adding."""
    row = variant(blobs, runtime=runtime)
    for count in (5, 1):
        np.testing.assert_allclose(infer(blobs, row, samples(count)), samples(count) @ WEIGHTS, atol=1e-5)
    assert len(sandboxes()) == 1


def test_runner_when_it_is_killed_then_the_request_in_it_fails_and_the_next_one_is_answered(blobs: BlobStore) -> None:
    row = variant(blobs)
    infer(blobs, row, samples(1))
    (runner,) = sandboxes()
    inside = runner.children(recursive=True)[-1]
    inside.suspend()  # so that the request is in it for sure
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(infer, blobs, row, samples(1))
        wait_for(lambda: any(thread.name == "watchdog of the sandbox" for thread in threading.enumerate()))
        runner.kill()
        with pytest.raises(Unavailable) as caught:
            asked.result(20)
    assert caught.value.code == "runner.crashed"
    np.testing.assert_allclose(infer(blobs, row, samples(2)), samples(2) @ WEIGHTS, atol=1e-5)


def test_runners_when_five_variants_are_asked_then_four_are_kept(blobs: BlobStore) -> None:
    for factor in range(1, 6):
        weights = WEIGHTS * np.float32(factor)
        output = infer(blobs, variant(blobs, linear_onnx(weights)), samples(2))
        np.testing.assert_allclose(output, samples(2) @ weights, atol=1e-4)
    assert len(sandboxes()) == 4


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "picture"}, "input.unknown"),
        ({"datatype": "BYTES"}, "input.bad_datatype"),
        ({"datatype": "INT32", "data": [1] * 8}, "input.bad_datatype"),
        ({"shape": [2, 3]}, "input.bad_shape"),
        ({"shape": [-1, 4]}, "input.bad_shape"),
        ({"shape": []}, "input.bad_shape"),
        ({"data": ["a"] * 8}, "input.bad_shape"),
        ({"data": [[1, 2], [3]]}, "input.bad_shape"),
        ({"shape": [4, 2]}, "input.bad_shape"),  # of a right size, but not what the variant takes
    ],
)
def test_input_when_wrong_then_is_refused_by_name(blobs: BlobStore, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        service.infer(blobs, variant(blobs), model(), 1, request(samples(2), **changes))
    assert caught.value.code == code


@pytest.mark.parametrize(("data", "runtime"), [(b"no model", "onnxruntime"), (linear_onnx(), "abacus")])
def test_variant_when_it_cannot_be_loaded_then_is_refused_by_name(blobs: BlobStore, data: bytes, runtime: str) -> None:
    with pytest.raises(Unavailable) as caught:
        infer(blobs, variant(blobs, data, runtime), samples(1))
    assert caught.value.code == "variant.not_loadable"
    assert sandboxes() == []


def test_variant_when_its_bytes_are_gone_or_changed_then_is_refused_by_name(blobs: BlobStore) -> None:
    row = variant(blobs)
    path = blobs.local_path(row.sha256)
    assert path is not None
    path.write_bytes(linear_onnx(WEIGHTS * np.float32(2)))
    codes = []
    for change in (lambda: None, path.unlink):
        change()
        with pytest.raises(ShoalError) as caught:
            infer(blobs, row, samples(1))
        codes.append(caught.value.code)
    assert codes == ["variant.not_loadable", "artifact.not_found"]


def test_inference_when_not_opened_then_says_so(blobs: BlobStore) -> None:
    service.close_runners()
    with pytest.raises(Unavailable) as caught:
        infer(blobs, variant(blobs), samples(1))
    assert caught.value.code == "inference.not_open"


def test_variant_when_it_has_several_inputs_and_outputs_then_all_are_answered_in_their_order(blobs: BlobStore) -> None:
    left, right = samples(2), samples(2) * 2
    both = [
        InferInput(name=name, shape=[2, 4], datatype="FP32", data=x.ravel().tolist())
        for name, x in (("right", right), ("left", left))
    ]
    pair = model(signature=msgspec.to_builtins(PAIR))
    answer = service.infer(blobs, variant(blobs, pair_onnx()), pair, 3, InferRequest(inputs=both))
    assert [one["name"] for one in answer.outputs] == ["total", "output"]
    np.testing.assert_allclose(answer.outputs[1]["data"], ((left + right) @ WEIGHTS).ravel(), atol=1e-4)


def test_raw_data_when_the_model_has_preprocessing_then_is_prepared_as_on_a_device(blobs: BlobStore) -> None:
    shape = [-1, 2, 2, 3]
    declared = model(
        signature={
            "inputs": [{"name": "input", "datatype": "FP32", "shape": shape}],
            "outputs": [{"name": "output", "datatype": "FP32", "shape": shape}],
        },
        preprocessing=[{"op": "resize", "width": 2, "height": 2}, {"op": "scale", "factor": 0.5}],
    )
    raw = InferInput(name="raw", shape=[3, 5, 3], datatype="UINT8", data=[10, 20, 30] * 15)
    row = variant(blobs, identity_onnx(2, 2, 3))
    answer = service.infer(blobs, row, declared, 3, InferRequest(inputs=[raw]))
    np.testing.assert_allclose(answer.outputs[0]["data"], [5, 10, 15] * 4, rtol=1e-5)


@pytest.mark.parametrize(
    ("runtime", "make"), [("litert", linear_tflite), ("armnn", linear_tflite), ("edgeimpulse", eim)]
)
def test_variant_when_of_another_runtime_then_is_run_in_the_sandbox_too(
    blobs: BlobStore, runtime: str, make: Callable[[], bytes]
) -> None:
    require(available_runtimes().get(runtime), "python3-pyarmnn libarmnn-cpuref-backend22 libarmnntfliteparser22")
    output = infer(blobs, variant(blobs, make(), runtime), samples(3))
    np.testing.assert_allclose(output, samples(3) @ WEIGHTS, atol=1e-5)


def test_model_when_its_signature_is_not_known_yet_then_its_file_tells(blobs: BlobStore) -> None:
    answer = service.infer(blobs, variant(blobs), model(signature={}), 3, request(samples(1)))
    assert [one["name"] for one in answer.outputs] == ["output"]
