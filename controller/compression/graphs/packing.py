"""Two values a filter as bits: what a binarized ONNX file stores, and the nodes that unpack it when it is loaded.

All bits are one uint8 initializer. The graph turns it into -1 and +1, cuts it into the layers' weights and gives each
filter its scale; nothing of that depends on the input, so ONNX Runtime and OpenVINO fold it into constants once, at
load: the gain is on disk and on the wire, not in latency. Arithmetic on int32 does it, since OpenVINO keeps the bit
operators on uint8 and does them again at each inference. Other weights of convolutions and linear maps become int8
with a scale a filter, in the same way.

The form of the weights: Rastegari et al. 2016 (XNOR-Net), section 3.1, arXiv:1603.05279.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from controller.compression.graphs.weights import Weight, make_node, put_first, swap, to_eight_bits, weights_of
from controller.compression.networks.refused import Refused

_PREFIX: Final = "binary"
_SAME: Final = 1e-5  # relative: what a batch norm that was folded into a filter rounds away
MIN_FILTER: Final = 16  # weights of a filter; in a smaller one two values may be chance


@dataclass(frozen=True)
class Packed:
    """A packed file.

    Attributes:
        weights_ratio: Bytes of the weights of convolutions and linear maps, with their scales, by those of float32.
        layers: Names of the weights that are bits now.
    """

    model: bytes
    weights_ratio: float
    layers: list[str]


def pack(model: bytes, *, are_ends_int8: bool) -> Packed:
    """Pack the weights that have two values a filter; what the file computes stays the same.

    Args:
        are_ends_int8: Make int8 of the other weights, which rounds them; they stay float32 otherwise.

    Raises:
        Refused: `binarize.nothing`: no weight has two values a filter.
    """
    proto = onnx.load_from_string(model)
    weights = list(weights_of(proto))
    binary = [found for found in weights if _is_binary(found)]
    if not binary:
        raise Refused("binarize.nothing", "No weight of this file has two values a filter.")
    others = [found for found in weights if not _is_binary(found)]
    nodes = _unpacked(proto, binary)
    stored = sum(-(-found.values.size // 8) + 4 * found.values.shape[found.axis] for found in binary)
    for found in others:
        if are_ends_int8:
            nodes += to_eight_bits(proto, found)
            stored += found.values.size + 4 * found.values.shape[found.axis]
        else:
            stored += 4 * found.values.size
    put_first(proto, nodes)
    onnx.checker.check_model(proto)
    ratio = stored / (4 * sum(found.values.size for found in weights))
    return Packed(bytes(proto.SerializeToString()), ratio, [found.name for found in binary])


def _is_binary(weight: Weight) -> bool:
    largest = weight.per_filter(weight.largest())
    size = weight.values.size / weight.values.shape[weight.axis]
    return bool(size >= MIN_FILTER and (np.abs(np.abs(weight.values) - largest) <= _SAME * largest).all())


def _unpacked(proto: ModelProto, weights: list[Weight]) -> list[NodeProto]:
    """Put bits in the place of weights; gives the nodes that make the weights of them."""
    signs = np.concatenate([(found.values >= 0).ravel() for found in weights])
    bits = np.packbits(signs)
    sizes = [found.values.size for found in weights]
    names = [f"{found.name}.signs" for found in weights]
    if rest := 8 * len(bits) - len(signs):
        sizes.append(rest)
        names.append(f"{_PREFIX}.rest")
    for found in weights:
        scale = found.per_filter(found.largest())
        swap(proto, found.name, {f"{found.name}.scale": scale, f"{found.name}.shape": np.array(found.values.shape)})
    shared: dict[str, NDArray[Any]] = {
        f"{_PREFIX}.bits": bits[:, None],
        f"{_PREFIX}.places": 2 ** np.arange(7, -1, -1, dtype=np.int32),
        f"{_PREFIX}.two": np.array(2, np.int32),
        f"{_PREFIX}.one": np.array(1, np.int32),
        f"{_PREFIX}.row": np.array([-1], np.int64),
        f"{_PREFIX}.sizes": np.array(sizes, np.int64),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in shared.items())
    steps = [
        ("Cast", ["bits"], "bytes", {"to": TensorProto.INT32}),
        ("Div", ["bytes", "places"], "shifted", {}),
        ("Mod", ["shifted", "two"], "ones", {}),
        ("Mul", ["ones", "two"], "twos", {}),
        ("Sub", ["twos", "one"], "whole", {}),
        ("Cast", ["whole"], "signs", {"to": TensorProto.FLOAT}),
        ("Reshape", ["signs", "row"], "all", {}),
    ]
    nodes = [
        make_node(kind, [f"{_PREFIX}.{name}" for name in given], [f"{_PREFIX}.{made}"], **more)
        for kind, given, made, more in steps
    ]
    nodes.append(make_node("Split", [f"{_PREFIX}.all", f"{_PREFIX}.sizes"], names, axis=0))
    for found in weights:
        nodes.append(make_node("Reshape", [f"{found.name}.signs", f"{found.name}.shape"], [f"{found.name}.ones"]))
        nodes.append(make_node("Mul", [f"{found.name}.ones", f"{found.name}.scale"], [found.name]))
    return nodes
