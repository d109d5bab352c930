"""An exported program as a network of layers, and back.

`torch.export` leaves a graph of aten operators over bare parameters. Pruning, distilling and simulated numbers want
layers, so convolutions, linear maps, batch norms and dropouts become `nn` modules again, under the names that their
parameters have; all else stays an operator. Sizes that follow a layer's width become free, so that the width may
change.

Invariants: the outputs are those of the program; the parameters keep their names, unless a layer's weight was not
called `weight`.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from controller.compression.networks.refused import Refused
from controller.compression.networks.restoring import LAYERS, Layer, Restoring
from controller.compression.networks.sizes import free_sizes
from shoal.training.programs import set_weights
from shoal.wire.models import Datatype, Signature, TensorSpec

DATATYPES: Final = {
    torch.bool: Datatype.BOOL,
    torch.uint8: Datatype.UINT8,
    torch.int8: Datatype.INT8,
    torch.int16: Datatype.INT16,
    torch.int32: Datatype.INT32,
    torch.int64: Datatype.INT64,
    torch.float16: Datatype.FP16,
    torch.float32: Datatype.FP32,
    torch.float64: Datatype.FP64,
}
_TYPES: Final = {datatype: dtype for dtype, datatype in DATATYPES.items()}
_BATCH: Final = 2  # of example inputs: one of 1 would be specialised away
_FIXED: Final = "fixed_layers"
_FREE_SIZE: Final = 32  # of an example's other free axes


@dataclass(frozen=True)
class Cost:
    """Of one inference of one sample.

    Attributes:
        macs: Multiply-accumulates of convolutions and linear maps.
        parameters: Of all kinds.
    """

    macs: int
    parameters: int


def signature_of(program: ExportedProgram) -> Signature:
    """Give what a program takes and gives, by the names in its graph.

    Raises:
        Refused: `recipe.unsupported_operator`: an input or output is no tensor.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    found = program.graph_signature
    tensors = {}
    for side, names in (("inputs", found.user_inputs), ("outputs", found.user_outputs)):
        tensors[side] = [_spec(str(name), values.get(str(name))) for name in names]
    return Signature(**tensors)


def examples_of(signature: Signature) -> list[Tensor]:
    """Give inputs of zeros that a model with this signature takes."""
    found = []
    for spec in signature.inputs:
        sizes = [size if size > 0 else _BATCH if axis == 0 else _FREE_SIZE for axis, size in enumerate(spec.shape)]
        found.append(torch.zeros(sizes, dtype=_TYPES[spec.datatype]))
    return found


def layered(program: ExportedProgram, weights: Mapping[str, NDArray[Any]] | None = None) -> fx.GraphModule:
    """Give an evaluation program as a network of layers, in evaluation mode.

    Its `forward` takes the inputs in their order and gives the output, or a tuple of several.

    Args:
        weights: To be set first; the program's own otherwise.

    Raises:
        Refused: `recipe.unsupported_operator`, naming operator and node: control flow, operators that are not torch's,
            programs that change their own buffers.
        shoal.training.programs.WeightsMismatch: The weights are not the program's.
    """
    if program.graph_signature.buffers_to_mutate or program.graph_signature.user_inputs_to_mutate:
        raise Refused(
            "recipe.unsupported_operator", "The program changes its own state; an evaluation program does not."
        )
    module = program.module(check_guards=False)
    if weights is not None:
        set_weights(module, weights)
    graph = fx.Graph()
    outputs: Any = graph.graph_copy(module.graph, {})
    graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
    net = fx.GraphModule(module, graph)
    restoring = Restoring(net)
    for node in list(net.graph.nodes):
        restoring.convert(node)
    net.meta[_FIXED] = free_sizes(net)
    net.graph.eliminate_dead_code()
    net.delete_all_unused_submodules()
    net.recompile()
    return copy.deepcopy(net).eval()  # its parameters are the program's until then


def exported(net: nn.Module, example_inputs: Sequence[Tensor], signature: Signature) -> ExportedProgram:
    """Give the evaluation program of a network; the axes that are free in the signature are free in it."""
    batch = Dim("batch")
    shapes = tuple(
        {axis: batch if axis == 0 else Dim.AUTO for axis, size in enumerate(spec.shape) if size == -1}
        for spec in signature.inputs
    )
    program = torch.export.export(net.eval(), tuple(example_inputs), dynamic_shapes=shapes)
    program._example_inputs = None  # saving would write them
    return program


def layers_of(net: nn.Module) -> dict[str, Layer]:
    """Give the convolutions and linear maps by name, in the order in which they run."""
    modules = dict(net.named_modules())
    calls = net.graph.nodes if isinstance(net, fx.GraphModule) else ()
    names = [node.target for node in calls if node.op == "call_module"]
    return {name: modules[name] for name in names if isinstance(modules[name], LAYERS)}


def outer_layers(net: fx.GraphModule) -> tuple[set[str], set[str]]:
    """Give the first layers, before which there is none, and the last ones, after which there is none."""
    layers = layers_of(net)
    has_before: dict[fx.Node, bool] = {}
    has_after: dict[fx.Node, bool] = {}
    first, last = set(), set()
    for node in net.graph.nodes:
        has_before[node] = any(has_before[source] or source.target in layers for source in node.all_input_nodes)
        if node.op == "call_module" and node.target in layers and not has_before[node]:
            first.add(node.target)
    for node in reversed(net.graph.nodes):
        has_after[node] = any(has_after[user] or user.target in layers for user in node.users)
        if node.op == "call_module" and node.target in layers and not has_after[node]:
            last.add(node.target)
    return first, last


def fixed_layers(net: fx.GraphModule) -> set[str]:
    """Give the layers whose width cannot change."""
    return set(net.meta.get(_FIXED, ()))


def bare_parameters(net: fx.GraphModule) -> list[fx.Node]:
    """Give the operators that use parameters which are no layer's: what changes a width cannot follow them."""
    parameters = dict(net.named_parameters())
    return [
        node
        for node in net.graph.nodes
        if node.op == "call_function"
        and any(source.op == "get_attr" and source.target in parameters for source in node.all_input_nodes)
    ]


def cost(net: nn.Module, example_inputs: Sequence[Tensor]) -> Cost:
    """Count a network."""
    macs = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        weight: Any = layer.weight
        positions = output[0].numel() // weight.shape[0]
        macs += positions * weight.numel()

    hooks = [layer.register_forward_hook(count) for layer in layers_of(net).values()]
    with torch.no_grad():
        net(*example_inputs)
    for hook in hooks:
        hook.remove()
    return Cost(macs, sum(parameter.numel() for parameter in net.parameters()))


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, Tensor) or value.dtype not in DATATYPES or not value.ndim:
        raise Refused("recipe.unsupported_operator", f"{name} is no tensor with an axis of samples.")
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return TensorSpec(name, DATATYPES[value.dtype], shape)
