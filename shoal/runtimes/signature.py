"""Makes of a file, as its runtime opened it, the model that was declared: names, datatypes, quantization, batches.

A file's own tensors often differ from what the model is to show: a converter renamed them, an int8 file takes int8, a
file has a fixed batch. Here, once for all runtimes, they are bound to the declared signature or refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from shoal.runtimes.model import DTYPES, Array, BadModel
from shoal.wire.models import Datatype, Signature, TensorSpec

_FLOATS: Final = (Datatype.FP16, Datatype.FP32, Datatype.FP64)
_QUANTIZED: Final = (Datatype.INT8, Datatype.UINT8, Datatype.INT16)


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """A tensor as its file has it; None is what the file does not say.

    Attributes:
        shape: -1 where an axis is free.
        scale, zero_point: value = scale * (element - zero_point); scale 0 where it is not quantized.
    """

    name: str | None = None
    datatype: Datatype | None = None
    shape: tuple[int, ...] | None = None
    scale: float = 0.0
    zero_point: int = 0


class OpenFile(Protocol):
    """A file that its runtime opened, with the tensors in the file's order."""

    @property
    def inputs(self) -> Sequence[FileTensor]:
        """Give what the file takes."""

    @property
    def outputs(self) -> Sequence[FileTensor]:
        """Give what the file gives."""

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once, on contiguous arrays of the file's datatypes; gives arrays that later runs leave alone.

        Raises:
            BadModel: `model.failed`.
        """

    def close(self) -> None:
        """Give the memory back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bound:
    """A declared tensor and the file's one that it is bound to.

    Attributes:
        place: In the file's order.
        has_free_batch: Whether its samples' axis is free in the declaration.
    """

    name: str
    spec: TensorSpec
    file: FileTensor
    place: int
    dtype: np.dtype[Any]
    file_dtype: np.dtype[Any]
    is_quantized: bool
    shape: tuple[int, ...]
    has_free_batch: bool

    def taken(self, array: Array) -> Array:
        """Give an input as the file wants it."""
        if array.dtype != self.dtype:
            message = f"The input {self.spec.name} is {self.spec.datatype}, not {array.dtype}."
            raise BadModel("input.bad_datatype", message)
        if not _has_shape(array, self.shape) or not array.size:
            message = f"The input {self.spec.name} has shape {list(array.shape)}, wanted is {self.spec.shape}."
            raise BadModel("input.bad_shape", message)
        if self.is_quantized:
            array = _quantized(array, self.file, self.file_dtype, self.spec.name)
        elif self.file_dtype != self.dtype:
            array = array.astype(self.file_dtype)
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def given(self, array: Array) -> Array:
        """Give an output as it is declared."""
        if array.dtype != self.file_dtype or not _has_shape(array, self.shape):
            message = (
                f"The output {self.spec.name} came out as {array.dtype} {list(array.shape)}, "
                f"declared is {self.spec.datatype} {self.spec.shape}."
            )
            raise BadModel("model.bad_outputs", message)
        if self.is_quantized:
            values = (array.astype(np.float32) - self.file.zero_point) * np.float32(self.file.scale)
            return values.astype(self.dtype, copy=False)
        return array if self.file_dtype == self.dtype else array.astype(self.dtype)


class BoundModel:
    """An open file behind its declared signature.

    Attributes:
        batch: How many samples go into one run of the file; None: as many as come.
    """

    def __init__(
        self, file: OpenFile, inputs: list[_Bound], outputs: list[_Bound], *, batch: int | None, is_padded: bool
    ) -> None:
        self.inputs = tuple(bound.spec for bound in inputs)
        self.outputs = tuple(bound.spec for bound in outputs)
        self.batch = batch
        self._file = file
        self._taken = sorted(inputs, key=lambda bound: bound.place)
        self._given = outputs
        self._is_padded = is_padded

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Give the outputs of a batch."""
        # Some microseconds for each inference: loops, no generators.
        arrays: list[Array] = []
        count: int | None = None
        for bound in self._taken:
            array = inputs.get(bound.name)
            if array is None or len(inputs) != len(self._taken):
                wanted = ", ".join(f"{spec.name} ({spec.datatype})" for spec in self.inputs)
                raise BadModel("input.unknown", f"The inputs are: {wanted}.")
            arrays.append(bound.taken(array))
            if bound.has_free_batch:
                if count not in (None, len(array)):
                    raise BadModel("input.bad_shape", "The inputs have different numbers of samples.")
                count = len(array)
        if count is None or self.batch is None or count == self.batch:
            return self._run(arrays)
        return self._run_in_parts(arrays, count, self.batch)

    def close(self) -> None:
        """Give the memory back."""
        self._file.close()

    def _run(self, arrays: list[Array]) -> dict[str, Array]:
        outputs = self._file.run(arrays)
        if len(outputs) != len(self._given):
            raise BadModel("model.bad_outputs", f"{len(outputs)} outputs came, declared are {len(self._given)}.")
        return {bound.name: bound.given(outputs[bound.place]) for bound in self._given}

    def _run_in_parts(self, arrays: list[Array], count: int, batch: int) -> dict[str, Array]:
        parts: list[dict[str, Array]] = []
        for start in range(0, count, batch):
            here = min(batch, count - start)
            cut = [
                self._part(array, start, here, batch) if bound.has_free_batch else array
                for array, bound in zip(arrays, self._taken, strict=True)
            ]
            part = self._run(cut)
            parts.append({bound.spec.name: part[bound.spec.name][:here] for bound in self._given})
        try:
            return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.outputs}
        except ValueError as error:
            raise BadModel("model.bad_outputs", "The outputs of the samples have several shapes.") from error

    def _part(self, array: Array, start: int, here: int, batch: int) -> Array:
        part = array[start : start + here]
        if here == batch or not self._is_padded:
            return part
        return np.concatenate([part, np.repeat(part[-1:], batch - here, axis=0)])


def bind(file: OpenFile, signature: Signature | None, *, most_samples: int | None = None) -> BoundModel:
    """Bind a file's tensors to a declared signature: by name if all names are equal, else by position.

    Args:
        signature: None: the file's own tensors are what is declared.
        most_samples: How many samples a file with a free batch takes at a time.

    Raises:
        BadModel: `model.bad_signature`, and the file is closed.
    """
    try:
        declared = signature or _own_signature(file)
        inputs = _bind_all("input", declared.inputs, file.inputs)
        outputs = _bind_all("output", declared.outputs, file.outputs)
        fixed = _fixed_batch(inputs)
    except BadModel:
        file.close()
        raise
    return BoundModel(file, inputs, outputs, batch=fixed or most_samples, is_padded=fixed is not None)


def _own_signature(file: OpenFile) -> Signature:
    return Signature(inputs=_own("input", file.inputs), outputs=_own("output", file.outputs))


def _own(kind: str, tensors: Sequence[FileTensor]) -> list[TensorSpec]:
    specs = []
    for place, tensor in enumerate(tensors):
        name = tensor.name or (kind if len(tensors) == 1 else f"{kind}{place}")
        if tensor.datatype is None or not tensor.shape:
            message = f"The file does not say datatype and shape of its {kind} {name}: declare a signature."
            raise BadModel("model.bad_signature", message)
        specs.append(TensorSpec(name=name, datatype=tensor.datatype, shape=list(tensor.shape)))
    return specs


def _bind_all(kind: str, specs: Sequence[TensorSpec], tensors: Sequence[FileTensor]) -> list[_Bound]:
    if len(specs) != len(tensors):
        names = ", ".join(str(tensor.name) for tensor in tensors)
        message = f"The file has {len(tensors)} {kind}s ({names[:500]}), declared are {len(specs)}."
        raise BadModel("model.bad_signature", message)
    places = {tensor.name: place for place, tensor in enumerate(tensors)}
    if places.keys() != {spec.name for spec in specs}:
        places = {spec.name: place for place, spec in enumerate(specs)}
    return [_bind(kind, spec, tensors[places[spec.name]], places[spec.name]) for spec in specs]


def _bind(kind: str, spec: TensorSpec, tensor: FileTensor, place: int) -> _Bound:
    file_datatype = tensor.datatype or spec.datatype
    is_quantized = file_datatype in _QUANTIZED and tensor.scale > 0 and spec.datatype in _FLOATS
    is_cast = file_datatype in _FLOATS and spec.datatype in _FLOATS
    if not (file_datatype == spec.datatype or is_quantized or is_cast):
        message = f"The file's {kind} {spec.name} is {file_datatype}, declared is {spec.datatype}."
        raise BadModel("model.bad_signature", message)
    if tensor.shape is not None and not _fits(kind, spec.shape, tensor.shape):
        message = f"The file's {kind} {spec.name} has shape {list(tensor.shape)}, declared is {spec.shape}."
        raise BadModel("model.bad_signature", message)
    return _Bound(
        name=spec.name,
        spec=spec,
        file=tensor,
        place=place,
        dtype=DTYPES[spec.datatype],
        file_dtype=DTYPES[file_datatype],
        is_quantized=is_quantized,
        shape=tuple(spec.shape),
        has_free_batch=spec.shape[0] == -1,
    )


def _fits(kind: str, declared: Sequence[int], own: Sequence[int]) -> bool:
    """Tell whether a file's shape keeps what is declared; an input that is declared free must be free."""
    if len(declared) != len(own):
        return False
    if kind == "input" and any(here == -1 and there != -1 for here, there in zip(declared[1:], own[1:], strict=True)):
        return False
    return all(-1 in (here, there) or here == there for here, there in zip(declared, own, strict=True))


def _fixed_batch(inputs: list[_Bound]) -> int | None:
    batches = {bound.file.shape[0] for bound in inputs if bound.has_free_batch and bound.file.shape is not None}
    fixed = batches - {-1}
    if not fixed:
        return None
    if len(batches) > 1:
        raise BadModel("model.bad_signature", "The file's inputs have different fixed numbers of samples.")
    return fixed.pop()


def _has_shape(array: Array, shape: tuple[int, ...]) -> bool:
    got = array.shape
    if len(got) != len(shape):
        return False
    for here, there in zip(got, shape, strict=True):  # noqa: SIM110 (a generator takes three times as long)
        if here != there and there != -1:
            return False
    return True


def _quantized(array: Array, tensor: FileTensor, dtype: np.dtype[Any], name: str) -> Array:
    if not np.isfinite(array).all():
        raise BadModel("input.not_finite", f"The input {name} has NaN or infinite values.")
    limits = np.iinfo(dtype)
    steps: Array = np.rint(array / np.float32(tensor.scale)) + tensor.zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)
