"""A program to one ExecuTorch file for XNNPACK; int8 by PyTorch 2 Export quantization.

Its batch is one sample. int8: weights one scale a channel, activations one a tensor; inputs and outputs stay float.
What XNNPACK does not take runs by ExecuTorch's own operators; the notes say how many those are.
"""

from collections.abc import Callable
from typing import Any, Final

from controller.compression.export.conversion import Conversion, ConversionError, Converted, Settings
from controller.compression.export.programs import batches, examples, flat_net, float_modules
from controller.compression.export.refusals import brief, refusal

FORMAT: Final = "pte"


def convert(request: Conversion) -> Converted:
    """Give the file.

    Raises:
        ConversionError: `export.*`, `quantize.failed`, `calibration.*`, `program.*`, ...
    """
    import torch

    settings = request.chosen(Settings, "minmax")
    torch.set_num_threads(1)
    net = flat_net(request)
    floats = float_modules(net, settings)
    inputs = examples(request.signature, settings)
    try:
        program = torch.export.export(net, inputs)
    except Exception as error:
        raise refusal(error, "torch.export, with the sizes of one sample,") from error
    notes: dict[str, Any] = {"float_layers": settings.float_layers}
    if request.precision != "fp32":
        quantized = _quantized(program.module(check_guards=False), inputs, request, floats)
        program = torch.export.export(quantized, inputs)
        notes |= {
            "weights": "int8 per channel",
            "activations": "int8 minmax" if request.precision == "int8" else "int8 dynamic",
        }
    return _lowered(program, notes)


def _quantized(net: Any, inputs: Any, request: Conversion, floats: list[str]) -> Any:
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    class Quantizer(XNNPACKQuantizer):  # type: ignore[misc]  # the library has no types
        """Ranges are those after a ReLU6 too.

        The library knows ReLU alone: a ReLU6 would share the range of what comes before it, which is many times 0..6 in
        EfficientNet-Lite0 (17 of 20 photos agreed with fp32).
        """

        def annotate(self, model: Any) -> Any:
            nodes = [node for node in model.graph.nodes if node.target in _clamps() and node.args[1:2] == (0.0,)]
            targets = {node: node.target for node in nodes}
            for node in nodes:
                node.target = torch.ops.aten.relu.default
            annotated = super().annotate(model)
            for node, target in targets.items():
                node.target = target
            return annotated

    is_dynamic = request.precision == "int8-dynamic"
    quantizer = Quantizer().set_global(_scheme(is_dynamic)).set_filter_function(_outside(floats))
    try:
        prepared = prepare_pt2e(net, quantizer)
        with torch.no_grad():
            # Once in any case: the weights' ranges are seen by running too.
            for batch in [inputs] if is_dynamic else batches(request.samples(), request.signature):
                prepared(*batch)
        return convert_pt2e(prepared)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:  # as many as there are graphs
        message = f"PyTorch's quantizer refuses it: {type(error).__name__}: {brief(error)}"
        raise ConversionError("quantize.failed", message) from error


def _clamps() -> tuple[Any, ...]:
    import torch

    return torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default


def _scheme(is_dynamic: bool) -> Any:
    """Give the quantizer's own scheme with plain minimum and maximum instead of its histogram."""
    from dataclasses import replace

    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
    from torchao.quantization.pt2e import MinMaxObserver

    scheme = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=is_dynamic)
    if is_dynamic:
        return scheme
    seen = replace(scheme.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12))
    return replace(scheme, input_activation=seen, output_activation=seen)


def _outside(floats: list[str]) -> Callable[[Any], bool]:
    def is_outside(node: Any) -> bool:
        stack = node.meta.get("nn_module_stack", {}).values()
        return not any(name.rpartition(".")[2] in floats for name, _ in stack)

    return is_outside


def _lowered(program: Any, notes: dict[str, Any]) -> Converted:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    try:
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        left = [
            node.name
            for node in edge.exported_program().graph.nodes
            if node.op == "call_function" and "getitem" not in node.name and "executorch_call_delegate" not in node.name
        ]
        made = edge.to_executorch()
    except (ConversionError, MemoryError):
        raise
    except Exception as error:
        nodes = {str(node.target): node.name for node in program.graph.nodes}
        raise refusal(error, "ExecuTorch", nodes) from error
    return Converted(model=bytes(made.buffer), format=FORMAT, notes={**notes, "outside_xnnpack": len(left)})
