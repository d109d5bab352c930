"""LiteRT (TensorFlow Lite) with XNNPACK, for `.tflite` files; the only importer of ai_edge_litert.

Options:
    delegate: Path of a delegate's library, which then runs what it can of the model instead of XNNPACK.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ai_edge_litert.interpreter import Interpreter, load_delegate

from shoal.runtimes.model import NO_OPTIONS, Array, BadModel, LoadedModel, check_options, datatype_of
from shoal.runtimes.signature import FileTensor, bind
from shoal.wire.models import Signature

_ERRORS: Final = (ValueError, RuntimeError, OSError)


class LiteRtFile:
    """A file in LiteRT's interpreter."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        names = _given_names(interpreter)
        self.inputs = [_tensor(one, names) for one in inputs]
        self.outputs = [_tensor(one, names) for one in outputs]
        self._places = [one["index"] for one in inputs]
        self._wanted = [one["index"] for one in outputs]
        self._shapes = [tuple(one["shape"]) for one in inputs]

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once."""
        try:
            self._fit([array.shape for array in arrays])
            for place, array in zip(self._places, arrays, strict=True):
                self._interpreter.set_tensor(place, array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(place) for place in self._wanted]
        except _ERRORS as error:
            raise BadModel("model.failed", f"LiteRT could not run it: {str(error)[:500]}") from error

    def close(self) -> None:
        """Give the memory back."""
        del self._interpreter

    def _fit(self, shapes: list[tuple[int, ...]]) -> None:
        """Plan the memory anew where a free axis has another length than before."""
        if shapes == self._shapes:
            return
        for place, shape in zip(self._places, shapes, strict=True):
            self._interpreter.resize_tensor_input(place, shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


class LiteRt:
    """Opens `.tflite` files."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file."""
        check_options(options, ["delegate"])
        delegates = [_delegate(options["delegate"])] if "delegate" in options else None
        if not path.stat().st_size:
            raise BadModel("model.not_loadable", "The file is empty.")
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads, experimental_delegates=delegates)
            interpreter.allocate_tensors()
        except _ERRORS as error:
            raise BadModel("model.not_loadable", f"LiteRT cannot load it: {str(error)[:500]}") from error
        return bind(LiteRtFile(interpreter), signature)


RUNTIME: Final = LiteRt()


def _delegate(path: str) -> Any:
    if not Path(path).is_file():
        raise BadModel("runtime.bad_option", f"There is no delegate {path[:200]!r}.")
    try:
        return load_delegate(path)
    except _ERRORS as error:
        raise BadModel("runtime.bad_option", f"The delegate {path[:200]!r} does not load: {error}") from error


def _given_names(interpreter: Interpreter) -> dict[int, str]:
    """Give the names that the file's signature has for tensors, which a converter took from the model."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    (key,) = signatures
    runner = interpreter.get_signature_runner(key)
    named = {**runner.get_input_details(), **runner.get_output_details()}
    return {details["index"]: name for name, details in named.items()}


def _tensor(details: dict[str, Any], names: Mapping[int, str]) -> FileTensor:
    name = names.get(details["index"], details["name"])
    scale, zero_point = details["quantization"]
    shape = tuple(int(axis) for axis in details["shape_signature"])
    datatype = datatype_of(details["dtype"], name)
    return FileTensor(name=name, datatype=datatype, shape=shape or None, scale=float(scale), zero_point=int(zero_point))
