"""Serves inside the sandbox: looks whether uploaded programs and weights are what a model says.

Opening a program runs code of the file, so by then this process is worth nothing to an attacker.

    program  {eval: path, weights: path, train?: path, signature?} -> {inputs, outputs, parameters}
             opens the programs, puts the weights into both, and infers a batch of zeros with the evaluation program

Inputs and outputs are JSON of `shoal.wire.models.TensorSpec`, as the program has them; axes that it leaves free are -1.
An answer is {ok: true, ...} or {ok: false, code, message}: `program.not_loadable`, `program.does_not_fit`,
`program.over_limit`, `model.weights_mismatch`, `model.bad_signature`.
"""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from controller.compression.networks.layers import DATATYPES
from controller.compression.workers.zeros import zeros_of
from shoal.runtimes.frames import read_frame, write_frame
from shoal.training.programs import WeightsMismatch, read_weights, set_weights
from shoal.wire.errors import WireError
from shoal.wire.models import Signature, TensorSpec

_BATCH: Final = 3  # not 1 or 2, which a program may have been made for
_FREE: Final = 32


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for; what is wrong with it is part of the answer."""
    operations: dict[str, Callable[..., dict[str, Any]]] = {"program": look_at_program}
    try:
        arguments = dict(request)
        return {"ok": True, **operations[arguments.pop("op")](**arguments)}
    except _Refused as error:
        return {"ok": False, "code": error.code, "message": str(error)}
    except WeightsMismatch as error:
        return {"ok": False, "code": "model.weights_mismatch", "message": str(error)[:1500]}
    except WireError as error:
        return {"ok": False, "code": error.code, "message": str(error)}
    except MemoryError:
        message = "The program needs more memory than it may use."
        return {"ok": False, "code": "program.over_limit", "message": message}


def look_at_program(
    eval: str, weights: str, train: str | None = None, signature: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Open programs with their weights, and infer with them."""
    arrays = read_weights(Path(weights).read_bytes())
    declared = msgspec.convert(signature, Signature | None)
    program, net = _opened(eval, "evaluation")
    set_weights(net, arrays)
    if train is not None:
        set_weights(_opened(train, "training")[1], arrays)
    inputs, outputs = _inputs(program), _outputs(program)
    if declared is not None:
        _require_fit("input", declared.inputs, inputs)
        _require_fit("output", declared.outputs, outputs)
    _infer(net, declared.inputs if declared is not None else inputs, outputs)
    return {
        "inputs": msgspec.to_builtins(inputs),
        "outputs": msgspec.to_builtins(outputs),
        "parameters": sum(array.size for array in arrays.values()),
    }


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    torch.set_num_threads(1)
    while (request := read_frame(connection)) is not None:
        write_frame(connection, answer(request))


def _opened(path: str, what: str) -> tuple[ExportedProgram, nn.Module]:
    try:
        program = torch.export.load(path)
        return program, program.module()
    except MemoryError:
        raise
    except Exception as error:  # whatever the file makes the loader do
        raise _Refused("program.not_loadable", f"The {what} program cannot be opened: {_said(error)}") from error


def _inputs(program: ExportedProgram) -> list[TensorSpec]:
    names = [one.arg.name for one in program.graph_signature.input_specs if one.kind is InputKind.USER_INPUT]
    return _specs(program, "input", names)


def _outputs(program: ExportedProgram) -> list[TensorSpec]:
    kept = [one.arg.name for one in program.graph_signature.output_specs if one.kind is OutputKind.USER_OUTPUT]
    found = _specs(program, "output", kept)
    # What a graph calls its results (`linear_1`) is no name that anybody chose.
    return [
        msgspec.structs.replace(one, name="output" if len(found) == 1 else f"output{place}")
        for place, one in enumerate(found)
    ]


def _specs(program: ExportedProgram, kind: str, names: Sequence[str]) -> list[TensorSpec]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    specs = []
    for name in names:
        value = values.get(name)
        if not isinstance(value, torch.Tensor) or value.dtype not in DATATYPES or value.dim() == 0:
            raise _Refused("model.bad_signature", f"The program's {kind} {name[:100]} is no tensor of samples.")
        shape = [size if isinstance(size, int) else -1 for size in value.shape]
        shown = kind if len(names) == 1 else name
        specs.append(TensorSpec(name=shown, datatype=DATATYPES[value.dtype], shape=shape))
    if not specs:
        raise _Refused("model.bad_signature", f"The program has no {kind}.")
    return specs


def _require_fit(kind: str, declared: Sequence[TensorSpec], own: Sequence[TensorSpec]) -> None:
    if len(declared) != len(own):
        message = f"The program has {len(own)} {kind}s, and its model {len(declared)}."
        raise _Refused("model.bad_signature", message)
    for said, found in zip(declared, own, strict=True):
        # An input's axis that the model leaves free must be free in the program too; one that it fixes may be.
        loose = (-1,) if kind == "output" else ()
        fits = len(said.shape) == len(found.shape) and all(
            there in (-1, here) or here in loose for here, there in zip(said.shape, found.shape, strict=True)
        )
        if said.datatype != found.datatype or not fits:
            message = (
                f"The program's {kind} is {found.datatype.value} {found.shape}, "
                f"and {said.name} of its model {said.datatype.value} {said.shape}."
            )
            raise _Refused("model.bad_signature", message)


def _infer(net: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    zeros = [torch.from_numpy(zeros_of(one, _BATCH, _FREE)) for one in inputs]
    try:
        with torch.no_grad():
            given = net(*zeros)
    except MemoryError:
        raise
    except Exception as error:  # a program fails in as many ways as there are programs
        raise _Refused("program.does_not_fit", f"The program fails on a batch of zeros: {_said(error)}") from error
    tensors = given if isinstance(given, tuple | list) else (given,)
    if len(tensors) != len(outputs) or any(not isinstance(one, torch.Tensor) for one in tensors):
        raise _Refused("program.does_not_fit", f"The program gives {len(tensors)} outputs, and says {len(outputs)}.")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]
