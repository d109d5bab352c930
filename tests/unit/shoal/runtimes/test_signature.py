"""Files bound to declared signatures: names, datatypes, shapes, quantization, batches."""

from collections.abc import Sequence

import numpy as np
import pytest

from shoal.runtimes.model import Array, BadModel
from shoal.runtimes.signature import BoundModel, FileTensor, bind
from shoal.wire.models import Datatype, Signature, TensorSpec

FP32, FP16, INT8, INT64 = Datatype.FP32, Datatype.FP16, Datatype.INT8, Datatype.INT64


class Echo:
    """A file that gives its inputs, in reverse order, and remembers what it was run with."""

    def __init__(self, *tensors: FileTensor) -> None:
        self.inputs = list(tensors)
        self.outputs = [
            FileTensor(
                name=f"{tensor.name}-out",
                datatype=tensor.datatype,
                shape=tensor.shape,
                scale=tensor.scale,
                zero_point=tensor.zero_point,
            )
            for tensor in reversed(tensors)
        ]
        self.runs: list[list[Array]] = []
        self.is_closed = False

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        self.runs.append(arrays)
        return arrays[::-1]

    def close(self) -> None:
        self.is_closed = True


def tensor(name: str, *shape: int, datatype: Datatype | None = FP32, scale: float = 0.0, zero: int = 0) -> FileTensor:
    return FileTensor(name=name, datatype=datatype, shape=shape or None, scale=scale, zero_point=zero)


def spec(name: str, *shape: int, datatype: Datatype = FP32) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=list(shape))


def declared(inputs: list[TensorSpec], outputs: list[TensorSpec] | None = None) -> Signature:
    echoed = [spec(f"{one.name}-out", *one.shape, datatype=one.datatype) for one in reversed(inputs)]
    return Signature(inputs=inputs, outputs=outputs or echoed)


def numbers(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_tensors_when_all_names_are_equal_then_are_bound_by_name() -> None:
    file = Echo(tensor("a", -1, 2), tensor("b", -1, 2))
    model = bind(file, declared([spec("b", -1, 2), spec("a", -1, 2)]))
    outputs = model.infer({"a": numbers(3, 2), "b": -numbers(3, 2)})
    assert [array.max() for array in file.runs[0]] == [5, 0]
    assert list(outputs) == ["a-out", "b-out"]
    assert (outputs["a-out"].max(), outputs["b-out"].max()) == (5, 0)


def test_tensors_when_a_name_differs_then_are_bound_by_position() -> None:
    file = Echo(tensor("a", -1, 2), tensor("b", -1, 2))
    model = bind(file, declared([spec("b", -1, 2), spec("c", -1, 2)]))
    model.infer({"c": numbers(1, 2), "b": -numbers(1, 2)})
    assert [array.max() for array in file.runs[0]] == [0, 1]


def test_signature_when_none_is_declared_then_is_the_files_own() -> None:
    model = bind(Echo(tensor("a", -1, 2), tensor("b", 1, 2, datatype=INT8, scale=0.5)), None)
    assert [(one.name, one.datatype, one.shape) for one in model.inputs] == [("a", FP32, [-1, 2]), ("b", INT8, [1, 2])]


def test_signature_when_neither_declared_nor_in_the_file_then_is_refused_and_the_file_closed() -> None:
    for file in (Echo(FileTensor(datatype=FP32)), Echo(FileTensor(shape=(1,)))):
        with pytest.raises(BadModel) as caught:
            bind(file, None)
        assert caught.value.code == "model.bad_signature"
        assert file.is_closed


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (tensor("a", -1, 2), spec("a", -1, 3)),
        (tensor("a", -1, 2), spec("a", -1, 2, 1)),
        (tensor("a", -1, 2), spec("a", -1, -1)),  # what is declared free must be free
        (tensor("a", -1, 2), spec("a", -1, 2, datatype=INT64)),
        (tensor("a", -1, 2, datatype=INT8), spec("a", -1, 2)),  # not quantized
        (tensor("a", -1, 2, datatype=INT64), spec("a", -1, 2, datatype=INT8)),
        (tensor("a", 2, 2), spec("a", 3, 2)),
    ],
)
def test_tensor_when_it_cannot_be_what_is_declared_then_is_refused(own: FileTensor, wanted: TensorSpec) -> None:
    with pytest.raises(BadModel) as caught:
        bind(Echo(own), declared([wanted]))
    assert caught.value.code == "model.bad_signature"


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (tensor("a", -1, -1), spec("a", -1, 2)),
        (tensor("a", datatype=None), spec("a", -1, 2)),
        (tensor("a", -1, 2, datatype=FP16), spec("a", -1, 2)),
        (tensor("a", 1, 2, datatype=INT8), spec("a", -1, 2, datatype=INT8)),
    ],
)
def test_tensor_when_it_does_what_is_declared_then_is_bound(own: FileTensor, wanted: TensorSpec) -> None:
    model = bind(Echo(own), declared([wanted]))
    x = numbers(3, 2).astype(wanted.datatype.value.replace("FP", "float").lower())
    output = model.infer({"a": x})["a-out"]
    assert output.dtype == x.dtype
    np.testing.assert_array_equal(output, x)


def test_quantized_tensor_when_declared_float_then_is_rounded_to_its_steps_and_clipped() -> None:
    file = Echo(tensor("a", -1, 4, datatype=INT8, scale=0.5, zero=3))
    model = bind(file, declared([spec("a", -1, 4)]))
    output = model.infer({"a": np.array([[0.0, 0.7, -100.0, 100.0]], np.float32)})["a-out"]
    assert file.runs[0][0].tolist() == [[3, 4, -128, 127]]
    assert output.tolist() == [[0.0, 0.5, -65.5, 62.0]]
    with pytest.raises(BadModel) as caught:
        model.infer({"a": np.full((1, 4), np.nan, np.float32)})
    assert caught.value.code == "input.not_finite"


@pytest.mark.parametrize(("batch", "count", "runs"), [(1, 3, [1, 1, 1]), (2, 3, [2, 2]), (4, 3, [4]), (3, 3, [3])])
def test_file_when_its_batch_is_fixed_then_takes_any_number_of_samples_in_parts(
    batch: int, count: int, runs: list[int]
) -> None:
    file = Echo(tensor("a", batch, 2))
    model = bind(file, declared([spec("a", -1, 2)]))
    np.testing.assert_array_equal(model.infer({"a": numbers(count, 2)})["a-out"], numbers(count, 2))
    assert [len(arrays[0]) for arrays in file.runs] == runs


def test_file_when_it_takes_so_many_at_most_then_no_part_is_filled_up() -> None:
    file = Echo(tensor("a", -1, 2))
    model = bind(file, declared([spec("a", -1, 2)]), most_samples=2)
    np.testing.assert_array_equal(model.infer({"a": numbers(5, 2)})["a-out"], numbers(5, 2))
    assert [len(arrays[0]) for arrays in file.runs] == [2, 2, 1]


def test_inputs_when_of_different_lengths_then_are_refused() -> None:
    model = bind(Echo(tensor("a", -1, 2), tensor("b", -1, 2)), None)
    with pytest.raises(BadModel) as caught:
        model.infer({"a": numbers(1, 2), "b": numbers(2, 2)})
    assert caught.value.code == "input.bad_shape"


class Liar(Echo):
    """A file that gives something else than it says."""

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        return [array[:, :1] for array in arrays]


def test_output_when_it_is_not_what_was_declared_then_is_refused_by_name() -> None:
    model: BoundModel = bind(Liar(tensor("a", -1, 2)), None)
    with pytest.raises(BadModel) as caught:
        model.infer({"a": numbers(1, 2)})
    assert caught.value.code == "model.bad_outputs"
