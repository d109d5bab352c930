"""Layers in the place of the operators of an exported graph.

A convolution, a linear map, a batch norm or a dropout becomes an `nn` module under the name that its parameters have;
what has no such form stays an operator. `torch.export` writes them in two ways, before and after its decompositions.
"""

from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from controller.compression.networks.refused import Refused
from controller.compression.networks.sizes import arguments_of

_aten: Final = torch.ops.aten
_CONVOLUTIONS: Final[dict[int, Any]] = {1: nn.Conv1d, 2: nn.Conv2d}

Layer = nn.Conv1d | nn.Conv2d | nn.Linear
LAYERS: Final = (nn.Conv1d, nn.Conv2d, nn.Linear)


class Restoring:
    """Puts layers in the place of operators, one after the other."""

    def __init__(self, net: fx.GraphModule) -> None:
        self._net = net
        self._made: dict[str, tuple[Any, ...]] = {}

    def convert(self, node: fx.Node) -> None:
        """Put a layer in the place of this node, or leave it; refuse it where nobody knows what it does."""
        if node.op != "call_function":
            return
        if not isinstance(node.target, torch._ops.OpOverload):
            if getattr(node.target, "__module__", "") not in ("_operator", "math", "torch"):
                raise _unsupported(node)
            return
        if node.target.namespace not in ("aten", "prims"):
            raise _unsupported(node)
        given = arguments_of(node)
        name = node.target._schema.name.removeprefix("aten::")
        if name in ("conv1d", "conv2d"):
            self._convolution(node, given, int(name[4]))
        elif name == "convolution" and not given["transposed"] and len(given["stride"]) in _CONVOLUTIONS:
            self._convolution(node, given, len(given["stride"]))
        elif name == "linear":
            self._linear(node, given["input"], given["weight"], given["bias"])
        elif name == "addmm" and (given["beta"], given["alpha"]) == (1, 1):
            self._linear(node, given["mat1"], _transposed(given["mat2"]), given["self"])
        elif name in ("batch_norm", "_native_batch_norm_legit_no_training"):
            self._batch_norm(node, given)
        elif name == "dropout":
            self._call(node, self._free_name(node.name), nn.Dropout(given["p"]), given["input"], ())

    def _convolution(self, node: fx.Node, given: dict[str, Any], axes: int) -> None:
        weight, bias = self._tensor(given["weight"]), self._tensor(given["bias"])
        if weight is None or (bias is None) != (given["bias"] is None):
            return
        stride, padding, dilation = (
            value if isinstance(value, str) else tuple(value) * (axes if len(value) == 1 else 1)
            for value in (given["stride"], given["padding"], given["dilation"])
        )
        out, inner, *kernel = weight.shape
        groups = given["groups"]
        settings = (tuple(kernel), stride, padding, dilation, groups)
        layer = _CONVOLUTIONS[axes](inner * groups, out, *settings, bias is not None, device="meta")
        self._weigh(node, given["weight"], given["bias"], layer, given["input"], settings)

    def _linear(self, node: fx.Node, value: fx.Node, weight: Any, bias: Any) -> None:
        tensor, offset = self._tensor(weight), self._tensor(bias)
        if tensor is None or tensor.ndim != 2 or (offset is None) != (bias is None) or (bias and offset.ndim != 1):
            return
        layer = nn.Linear(tensor.shape[1], tensor.shape[0], bias is not None, device="meta")
        self._weigh(node, weight, bias, layer, value, ())

    def _weigh(
        self,
        node: fx.Node,
        weight: fx.Node,
        bias: fx.Node | None,
        layer: Layer,
        value: fx.Node,
        settings: tuple[Any, ...],
    ) -> None:
        path = str(weight.target)
        name = self._owner(path, {"weight", "bias"})
        if bias is not None and name != path and bias.target != f"{name}.bias":
            name = path
        if name == path and len(weight.users) > 1:
            return  # a layer of that name would hide it from the others
        layer.weight = nn.Parameter(self._tensor(weight).detach())
        if bias is not None:
            layer.bias = nn.Parameter(self._tensor(bias).detach())
        self._call(node, name, layer, value, (bias and bias.target, *settings))

    def _batch_norm(self, node: fx.Node, given: dict[str, Any]) -> None:
        leaves = [leaf for leaf in ("weight", "bias", "running_mean", "running_var") if given[leaf] is not None]
        tensors = {leaf: self._tensor(given[leaf]) for leaf in leaves}
        value, seen = given["input"], given["input"].meta.get("val")
        if (
            "running_mean" not in tensors
            or seen is None
            or seen.ndim > 4
            or any(tensor is None for tensor in tensors.values())
        ):
            return
        kind = nn.BatchNorm2d if seen.ndim == 4 else nn.BatchNorm1d
        layer = kind(len(tensors["running_mean"]), given["eps"], given["momentum"], affine="weight" in tensors)
        for leaf, tensor in tensors.items():
            setattr(layer, leaf, nn.Parameter(tensor.detach()) if leaf in ("weight", "bias") else tensor.detach())
        name = self._owner(str(given["running_mean"].target), {*leaves, "num_batches_tracked"})
        if node.target is not _aten.batch_norm.default:  # gives a triple, of which the first is used
            if [user.args[1] for user in node.users] != [0]:
                raise _unsupported(node)
            node = next(iter(node.users))
        self._call(node, name, layer, value, (given["eps"], given["momentum"]))

    def _call(self, node: fx.Node, name: str, layer: nn.Module, value: fx.Node, settings: tuple[Any, ...]) -> None:
        if self._made.setdefault(name, settings) != settings:
            raise _unsupported(node)  # the same weights, used in two ways
        if not isinstance(self._found(name), (*LAYERS, nn.Dropout, nn.modules.batchnorm._BatchNorm)):
            owner, _, leaf = name.rpartition(".")
            self._net.get_submodule(owner)._parameters.pop(leaf, None)
            self._net.add_submodule(name, layer)
        with self._net.graph.inserting_before(node):
            call = self._net.graph.call_module(name, (value,))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        self._net.graph.erase_node(node)

    def _owner(self, path: str, leaves: set[str]) -> str:
        """Give the name of the module that holds a parameter, where it holds nothing but these; its own otherwise."""
        owner, _, leaf = path.rpartition(".")
        module = self._net.get_submodule(owner)
        held = {*module._parameters, *module._buffers, *module._modules}
        return owner if owner and leaf in leaves and held <= leaves else path

    def _free_name(self, name: str) -> str:
        while hasattr(self._net, name):
            name += "_"
        return name

    def _found(self, path: str) -> Any:
        found: Any = self._net
        for leaf in path.split("."):
            found = getattr(found, leaf, None)
        return found

    def _tensor(self, node: Any) -> Any:
        """Give the parameter or buffer that a node fetches; None where it fetches none."""
        found = self._found(str(node.target)) if isinstance(node, fx.Node) and node.op == "get_attr" else None
        return found if isinstance(found, Tensor) else None


def _transposed(node: Any) -> fx.Node | None:
    """Give the node whose transposed matrix this is."""
    if (
        not isinstance(node, fx.Node)
        or node.op != "call_function"
        or node.target
        not in (
            _aten.t.default,
            _aten.permute.default,
            _aten.transpose.int,
        )
    ):
        return None
    source = node.args[0]
    return source if isinstance(source, fx.Node) else None


def _unsupported(node: fx.Node) -> Refused:
    message = f"The operator {node.target} at {node.name} cannot be made a layer, nor be left as it is."
    return Refused("recipe.unsupported_operator", message)
