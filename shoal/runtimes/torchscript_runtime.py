"""TorchScript, for `.pt` files of `torch.jit.save` and `.ptl` files of PyTorch Mobile's lite interpreter.

A file does not say datatypes and shapes: a signature is needed. Which of the two formats it is, its archive tells.

Options:
    engine: Of quantized operators: `qnnpack` if it is not named and is there, as both ends then count alike.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.jit.mobile import _load_for_lite_interpreter

from shoal.runtimes.model import DTYPES, NO_OPTIONS, Array, BadModel, LoadedModel, check_choice, check_options
from shoal.runtimes.signature import FileTensor, bind
from shoal.wire.models import Signature, TensorSpec

_QNNPACK: Final = "qnnpack"
_BYTECODE: Final = "/bytecode.pkl"  # what the lite interpreter runs; `torch.jit.save` writes none


class TorchScriptFile:
    """A file in one of PyTorch's two interpreters."""

    def __init__(self, module: Any, signature: Signature) -> None:
        self._module = module
        self.inputs = [_tensor(spec) for spec in signature.inputs]
        self.outputs = [_tensor(spec) for spec in signature.outputs]
        self._names = [spec.name for spec in signature.outputs]

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once."""
        try:
            with torch.inference_mode():
                output = self._module(*(torch.from_numpy(array) for array in arrays))
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise BadModel("model.failed", f"TorchScript could not run it: {str(error)[:500]}") from error
        return [self._array(tensor) for tensor in self._in_order(output)]

    def close(self) -> None:
        """Give the memory back."""
        del self._module

    def _in_order(self, output: Any) -> Sequence[Any]:
        if isinstance(output, torch.Tensor):
            return [output]
        if isinstance(output, Mapping):
            if set(output) == set(self._names):
                return [output[name] for name in self._names]
            raise BadModel("model.bad_outputs", f"The outputs are named {', '.join(map(str, output))[:500]}.")
        return list(output) if isinstance(output, tuple | list) else [output]

    def _array(self, tensor: Any) -> Array:
        if not isinstance(tensor, torch.Tensor):
            raise BadModel("model.bad_outputs", f"An output is a {type(tensor).__name__}, not a tensor.")
        array: Array = (tensor.dequantize() if tensor.is_quantized else tensor).numpy()
        return array


class TorchScript:
    """Opens `.pt` and `.ptl` files."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file."""
        check_options(options, ["engine"])
        engines = torch.backends.quantized.supported_engines
        engine = options.get("engine", _QNNPACK if _QNNPACK in engines else engines[-1])
        check_choice("engine", engine, engines)
        torch.backends.quantized.engine = engine
        torch.set_num_threads(threads)
        module, names = _load(path)
        if signature is None:
            raise BadModel("model.bad_signature", "A TorchScript file does not say what it takes: declare a signature.")
        if len(names) != len(signature.inputs):
            message = (
                f"The file has {len(names)} inputs ({', '.join(names)[:500]}), declared are {len(signature.inputs)}."
            )
            raise BadModel("model.bad_signature", message)
        return bind(_tried(TorchScriptFile(module, signature), signature), signature)


RUNTIME: Final = TorchScript()


def _load(path: Path) -> tuple[Any, list[str]]:
    """Give the module and the names of what it takes.

    The lite interpreter counts no arguments, and one too many ends the process. Its archives hold the whole program as
    well, which tells.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            is_lite = any(name.endswith(_BYTECODE) for name in archive.namelist())
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise BadModel("model.not_loadable", f"It is no TorchScript archive: {error}") from error
    try:
        module: Any = torch.jit.load(str(path), "cpu").eval()  # type: ignore[no-untyped-call]
        names = [argument.name for argument in module.forward.schema.arguments[1:]]  # the first one is the module
        if is_lite:
            module = _load_for_lite_interpreter(str(path), "cpu")  # type: ignore[no-untyped-call]
        return module, names
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise BadModel("model.not_loadable", f"TorchScript cannot load it: {str(error)[:500]}") from error


def _tried(file: TorchScriptFile, signature: Signature) -> TorchScriptFile:
    """Run a sample of zeros, the only way to learn what a file gives; not where other axes than the samples' are free.

    Raises:
        BadModel: `model.bad_signature`.
    """
    if any(-1 in spec.shape[1:] for spec in signature.inputs):
        return file
    zeros = [np.zeros([max(axis, 1) for axis in spec.shape], DTYPES[spec.datatype]) for spec in signature.inputs]
    try:
        outputs = file.run(zeros)
    except BadModel as error:
        raise BadModel("model.bad_signature", f"The file does not take what is declared: {error}") from error
    specs = signature.outputs
    given = ", ".join(f"{output.dtype} {list(output.shape)}" for output in outputs)
    if len(outputs) != len(specs) or not all(map(_is_like, outputs, specs)):
        raise BadModel("model.bad_signature", f"The file gives {given}, which is not what is declared.")
    return file


def _is_like(output: Array, spec: TensorSpec) -> bool:
    return (
        output.dtype == DTYPES[spec.datatype]
        and output.ndim == len(spec.shape)
        and all(wanted in (-1, got) for wanted, got in zip(spec.shape, output.shape, strict=True))
    )


def _tensor(spec: TensorSpec) -> FileTensor:
    return FileTensor(name=spec.name, datatype=spec.datatype, shape=tuple(spec.shape))
