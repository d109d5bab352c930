"""Sizes in a graph that follow the width of a layer: which they are, and how they become free.

An exported program has the sizes of its reshapes as numbers; when a layer gets fewer channels, the ones that come of
its width have to follow. So the axis that has a layer's width is followed through the operators, and where a reshape
takes it up, that size is written as -1, to be what is left.
"""

import math
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

_aten: Final = torch.ops.aten
_WIDE: Final = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)


def free_sizes(net: fx.GraphModule) -> set[str]:
    """Let the sizes of reshapes follow the width of the layers before them.

    Returns:
        The layers whose width has to stay: those before a grouped convolution, and those whose channels a reshape mixes
        with what torch-pruning cannot tell apart: it would take away others than the weakest.
    """
    modules = dict(net.named_modules())
    fixed: set[str] = set()
    axes: dict[fx.Node, int] = {}  # which axis of a node's output has a layer's width
    for node in net.graph.nodes:
        value = _value(node)
        if value is None:
            continue
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, _WIDE):
            axes[node] = value.ndim - 1 if isinstance(layer, nn.Linear) else 1
            if isinstance(layer, nn.Conv1d | nn.Conv2d) and 1 < layer.groups < layer.in_channels:
                fixed |= {str(node.target), *_before(node, modules)[0]}
            continue
        source = next((found for found in node.all_input_nodes if found in axes), None)
        if source is None:
            continue
        name = node.target._schema.name.removeprefix("aten::") if hasattr(node.target, "_schema") else ""
        is_view = name in ("view", "reshape", "_unsafe_view") and node.args[0] is source
        if (is_view or name == "flatten") and _is_mixed(node, axes[source], modules):
            fixed |= _before(node, modules)[0]
        axis = _free_size(net.graph, node, axes[source]) if is_view else _moved(name, node, axes[source])
        if axis is not None and axis < value.ndim:
            axes[node] = axis
    return fixed


def _before(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[set[str], set[str]]:
    """Give the layers whose width a node's input has, and the operators between; a depthwise layer is both."""
    layers: set[str] = set()
    operators: set[str] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        source = waiting.pop()
        layer = modules.get(str(source.target)) if source.op == "call_module" else None
        is_layer = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
        (layers if is_layer else operators).add(str(source.target))
        if not is_layer or (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1):
            waiting.extend(source.all_input_nodes)
    return layers, operators


def _is_mixed(node: fx.Node, axis: int, modules: dict[str, nn.Module]) -> bool:
    """Tell whether a reshape puts the axis behind others into one, or several layers' channels with what is behind."""
    source: Any = node.args[0]
    before, after = list(source.meta["val"].shape), [size for size in node.meta["val"].shape if isinstance(size, int)]
    inside = [size for size in before[1:axis] if isinstance(size, int) and size > 1]
    if inside and after[: len(inside)] != inside:
        return True
    has_more = any(size != 1 for size in before[axis + 1 :]) and len(after) < len(before) - 1
    return has_more and "aten.cat.default" in _before(node, modules)[1]


def _value(node: Any) -> Tensor | None:
    """Give what was seen of a node's output, of the first one where it has several."""
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _free_size(graph: fx.Graph, node: fx.Node, axis: int) -> int | None:
    """Make the size free into which the axis of the first argument goes; gives its place."""
    source: Any = node.args[0]
    before, after = source.meta["val"].shape, node.meta["val"].shape
    inner, outer = list(before[1:]), list(after[1:])
    if str(before[0]) != str(after[0]) or axis == 0 or not all(isinstance(size, int) for size in (*inner, *outer)):
        return None
    start_in = start_out = 0
    while start_in < len(inner):
        end_in, end_out = start_in + 1, start_out + 1
        while (left := math.prod(inner[start_in:end_in])) != (right := math.prod(outer[start_out:end_out])):
            end_in, end_out = (end_in + 1, end_out) if left < right else (end_in, end_out + 1)
            if end_in > len(inner) or end_out > len(outer):
                return None
        if start_in <= axis - 1 < end_in:
            sizes: list[Any] = list(outer)
            sizes[end_out - 1] = -1
            with graph.inserting_before(node):
                batch = graph.call_function(_aten.sym_size.int, (source, 0))
            batch.meta = {"val": after[0]}
            node.update_arg(1, [batch, *sizes])
            return end_out
        start_in, start_out = end_in, end_out
    return None


def _moved(name: str, node: fx.Node, axis: int) -> int | None:
    """Give where an operator puts the axis of its first argument; None where it is gone."""
    given = arguments_of(node) if name else {}
    before = _value(node.all_input_nodes[0])
    ndim = before.ndim if before is not None else 0
    if name == "flatten":
        start, end = given["start_dim"] % ndim, given["end_dim"] % ndim
        return axis if axis < start else max(start, axis - (end - start)) if axis > end else start
    if name == "permute":
        return [place % ndim for place in given["dims"]].index(axis)
    if name == "transpose":
        pair = (given["dim0"] % ndim, given["dim1"] % ndim)
        return int(pair[1 - pair.index(axis)]) if axis in pair else axis
    if name == "unsqueeze":
        return axis + int(given["dim"] % (ndim + 1) <= axis)
    if name in ("mean", "sum", "amax", "amin", "squeeze") and not given.get("keepdim"):
        dims = given.get("dim")
        gone = {place % ndim for place in ([dims] if isinstance(dims, int) else dims or [])}
        return None if axis in gone else axis - sum(place < axis for place in gone)
    return axis


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """Give an operator's arguments by name, with its defaults."""
    target: Any = node.target
    found = {}
    for index, argument in enumerate(target._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        found[argument.name] = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name, default)
    return found
