"""An uploaded program as the converters take it: with its weights, checked against the signature.

Loading it runs code of the file: inside the sandbox only. torch is imported by the functions, as this module stands
beside converters that need none.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from controller.compression.export.conversion import Conversion, ConversionError, Settings
from shoal.wire.models import Datatype, Signature, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, fx

_NOTES: Final = ("stack_trace", "source_fn_stack", "torch_fn", "from_node")
_FREE_SIZE: Final = 32  # of free axes beside the samples', where a format needs a size and none is set


def open_program(request: Conversion) -> "torch.export.ExportedProgram":
    """Load the request's program with its weights.

    Raises:
        ConversionError: `program.not_loadable`, `program.does_not_fit`, `model.weights_mismatch`.
        shoal.wire.errors.WireError: `tensors.malformed`.
    """
    import torch

    from shoal.training.programs import read_weights

    try:
        program = torch.export.load(io.BytesIO(request.program or b""))
    except MemoryError:
        raise
    except Exception as error:  # whatever the file makes the loader do
        said = f"{type(error).__name__}: {error}"
        raise ConversionError("program.not_loadable", f"torch.export.load refuses it: {said}") from error
    if request.weights is not None:
        _set_weights(program, read_weights(request.weights))
    _check(program, request.signature)
    for node in program.graph.nodes:  # file names and source lines of whoever made the program
        for note in _NOTES:
            node.meta.pop(note, None)
    return program


def flat_net(request: Conversion) -> "torch.nn.Module":
    """Give the program as a module in evaluation mode: tensors in order, a tuple of tensors out.

    Each operator with a weight is a submodule `layer0`, `layer1`, ... of the attribute `net`, so that converters can be
    told which to leave in float; `float_modules` says which are which.
    """
    import torch
    from torch.utils import _pytree as pytree

    program = open_program(request)

    class Program(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = _with_layers(program.module(check_guards=False))
            self.training = False
            for parameter in self.parameters():
                parameter.requires_grad_(False)

        def train(self, mode: bool = True) -> Self:
            """Stay: an exported net is of one mode."""
            return self

        def forward(self, *inputs: "Tensor") -> tuple["Tensor", ...]:
            return tuple(pytree.tree_leaves(self.net(*inputs)))

    Program.__module__, Program.__qualname__ = "shoal", "Program"  # the names stand in some formats' files
    return Program()


def float_modules(net: Any, settings: Settings) -> list[str]:
    """Give the submodules of the layers that stay in float, by the layers' names in the settings.

    Raises:
        ConversionError: `recipe.unknown_layer`.
    """
    names: dict[str, str] = {layer.name: module for module, layer in net.net.named_children() if hasattr(layer, "name")}
    for name in settings.float_layers:
        if name not in names:
            message = f"There is no layer {name[:100]}; there are {', '.join(sorted(names))}."
            raise ConversionError("recipe.unknown_layer", message)
    return [names[name] for name in settings.float_layers]


def examples(signature: Signature, settings: Settings, batch: int = 1) -> tuple["Tensor", ...]:
    """Give inputs of zeros, by which a program of free sizes becomes one of certain sizes."""
    return tuple(_example(spec, settings.sizes.get(spec.name), batch) for spec in signature.inputs)


def batches(samples: Mapping[str, Any], signature: Signature, size: int = 1) -> Iterator[tuple["Tensor", ...]]:
    """Give samples as input tensors of a program, a batch at a time."""
    import torch

    arrays = [samples[spec.name] for spec in signature.inputs]
    for start in range(0, len(arrays[0]), size):
        yield tuple(torch.from_numpy(array[start : start + size]) for array in arrays)


def _with_layers(net: "fx.GraphModule") -> "fx.GraphModule":
    """Put each operator that takes a weight of two or more axes into a submodule of its own."""
    import torch

    class Layer(torch.nn.Module):
        def __init__(self, name: str, operator: Any) -> None:
            super().__init__()
            self.name = name
            self.operator = operator

        def forward(self, *arguments: Any, **named: Any) -> Any:
            return self.operator(*arguments, **named)

    Layer.__module__, Layer.__qualname__ = "shoal", "Layer"
    parameters = dict(net.named_parameters())
    count = 0
    for node in list(net.graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        weights = [
            str(source.target)
            for source in node.all_input_nodes
            if source.op == "get_attr" and getattr(parameters.get(str(source.target)), "ndim", 0) >= 2
        ]
        if len(weights) != 1:
            continue
        module = f"layer{count}"
        count += 1
        net.add_submodule(module, Layer(weights[0].removesuffix(".weight"), node.target))
        with net.graph.inserting_before(node):
            call = net.graph.call_module(module, node.args, node.kwargs)
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        net.graph.erase_node(node)
    net.recompile()
    return net


def _set_weights(program: "torch.export.ExportedProgram", arrays: Mapping[str, Any]) -> None:
    import torch

    state = program.state_dict
    if state.keys() != arrays.keys():
        odd = ", ".join(sorted(state.keys() ^ arrays.keys())[:3])
        raise ConversionError("model.weights_mismatch", f"The weights do not fit the program: {odd}.")
    with torch.no_grad():
        for name, tensor in state.items():
            if tuple(arrays[name].shape) != tuple(tensor.shape):
                message = f"{name} has shape {arrays[name].shape}; the program has {tuple(tensor.shape)}."
                raise ConversionError("model.weights_mismatch", message)
            tensor.copy_(torch.from_numpy(arrays[name]))


def _check(program: "torch.export.ExportedProgram", signature: Signature) -> None:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    sides: tuple[tuple[str, Sequence[Any], list[TensorSpec]], ...] = (
        ("input", program.graph_signature.user_inputs, signature.inputs),
        ("output", program.graph_signature.user_outputs, signature.outputs),
    )
    for side, names, specs in sides:
        if len(names) != len(specs):
            message = f"The program has {len(names)} {side}s; the signature has {len(specs)}."
            raise ConversionError("program.does_not_fit", message)
        for name, spec in zip(names, specs, strict=True):
            shape = getattr(values.get(str(name)), "shape", None)
            if shape is None or not _fits(list(shape), spec.shape):
                said = "no tensor" if shape is None else f"of shape {[str(size) for size in shape]}"
                message = f"The program's {side} {spec.name} is {said}; the signature has {spec.shape}."
                raise ConversionError("program.does_not_fit", message)


def _fits(shape: list[Any], wanted: list[int]) -> bool:
    """Tell whether each axis is as declared; one that the program leaves free may be declared as a number."""
    return len(shape) == len(wanted) and all(
        not isinstance(size, int) or size == axis for size, axis in zip(shape, wanted, strict=True)
    )


def _example(spec: TensorSpec, shape: list[int] | None, batch: int) -> "Tensor":
    import torch

    types = {
        Datatype.BOOL: torch.bool,
        Datatype.UINT8: torch.uint8,
        Datatype.INT8: torch.int8,
        Datatype.INT16: torch.int16,
        Datatype.INT32: torch.int32,
        Datatype.INT64: torch.int64,
        Datatype.FP16: torch.float16,
        Datatype.FP32: torch.float32,
        Datatype.FP64: torch.float64,
    }
    rest = shape or [_FREE_SIZE if axis == -1 else axis for axis in spec.shape[1:]]
    fits = len(rest) == len(spec.shape) - 1 and all(
        axis in (-1, size) and size > 0 for axis, size in zip(spec.shape[1:], rest, strict=True)
    )
    if not fits or math.prod(rest) > 2**28:
        message = f"{spec.name} cannot have the sizes {rest}; a sample of it has {spec.shape[1:]}."
        raise ConversionError("program.does_not_fit", message)
    return torch.zeros([batch, *rest], dtype=types[spec.datatype])
