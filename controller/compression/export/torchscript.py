"""A program to TorchScript: an archive for `torch.jit`, or one for the lite interpreter (`.ptl`).

int8 by the qnnpack engine, static or dynamic, as phones and ARM boards have it. A traced archive keeps the batch free
where the program does.
"""

import io
import zipfile
from typing import Any, Final, Literal

from controller.compression.export.conversion import Conversion, ConversionError, Converted, Settings
from controller.compression.export.programs import batches, examples, open_program
from controller.compression.export.refusals import brief, refusal
from controller.compression.networks.refused import Refused

_ENGINE: Final = "qnnpack"
_TRACE_BATCH: Final = 2  # a batch of one may be specialised away
_OTHER_BATCH: Final = 3
_SOURCES: Final = ".debug_pkl"  # of lines and files of whoever traced it


class TorchscriptSettings(Settings, frozen=True):
    """Of this converter.

    Attributes:
        format: `torchscript` for `torch.jit`, `ptl` for the lite interpreter.
    """

    format: Literal["torchscript", "ptl"] = "torchscript"


def convert(request: Conversion) -> Converted:
    """Give the archive.

    Raises:
        ConversionError: `export.*`, `quantize.failed`, `calibration.*`, `program.*`, `recipe.*`, ...
    """
    import torch

    from controller.compression.networks.layers import layered

    settings = request.chosen(TorchscriptSettings, "minmax")
    torch.set_num_threads(1)
    inputs = examples(request.signature, settings, _TRACE_BATCH)
    try:
        net = _eager(layered(open_program(request), None))
    except Refused as error:
        code = "export.unsupported_operator" if error.code == "recipe.unsupported_operator" else error.code
        raise ConversionError(code, str(error)) from error
    notes: dict[str, Any] = {}
    if request.precision != "fp32":
        torch.backends.quantized.engine = _ENGINE
        net = _quantized(net, inputs, request, settings)
        notes = {"engine": _ENGINE, "float_layers": settings.float_layers}
    try:
        with torch.no_grad():
            traced = torch.jit.trace(net, inputs, check_trace=False)  # type: ignore[no-untyped-call]
            traced = torch.jit.freeze(traced.eval())
            _check_batch(traced, request, settings)
        return Converted(model=_saved(traced, settings), format=settings.format, notes=notes)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:
        raise refusal(error, "TorchScript") from error


def _quantized(net: Any, inputs: Any, request: Conversion, settings: Settings) -> Any:
    import torch
    from torch.ao.quantization import QConfig, QConfigMapping, default_dynamic_qconfig
    from torch.ao.quantization.observer import MinMaxObserver, default_per_channel_weight_observer
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    is_dynamic = request.precision == "int8-dynamic"
    # reduce_range off: qnnpack's kernels do not overflow, as x86's once did.
    seen = MinMaxObserver.with_args(qscheme=torch.per_tensor_affine, dtype=torch.quint8, reduce_range=False)
    scheme = QConfig(activation=seen, weight=default_per_channel_weight_observer)  # type: ignore[no-untyped-call]
    mapping = QConfigMapping()
    if is_dynamic:
        mapping.set_object_type(torch.nn.Linear, default_dynamic_qconfig)
    else:
        mapping.set_global(scheme)
        mapping.set_object_type(torch.nn.functional.hardtanh, None)  # qnnpack's own gives nonsense
        for layer, most in _cap(net).items():
            capped = _capped(most).with_args(qscheme=torch.per_tensor_affine, dtype=torch.quint8, reduce_range=False)
            ranges = QConfig(activation=capped, weight=default_per_channel_weight_observer)  # type: ignore[no-untyped-call]
            mapping.set_module_name(layer, ranges)
    names = {name for name, _ in net.named_modules()}
    for layer in settings.float_layers:
        if layer not in names:
            raise ConversionError("recipe.unknown_layer", f"There is no layer {layer[:100]}.")
        mapping.set_module_name(layer, None)
    try:
        prepared = prepare_fx(net, mapping, inputs)
        with torch.no_grad():
            for batch in [] if is_dynamic else batches(request.samples(), request.signature, 32):
                prepared(*batch)
        return convert_fx(prepared)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:  # as many as there are graphs
        message = f"PyTorch's quantizer refuses it: {type(error).__name__}: {brief(error)}"
        raise ConversionError("quantize.failed", message) from error


def _cap(net: Any) -> dict[str, float]:
    """Put a ReLU in the place of each clamp 0..most after a layer, and give those layers with their `most`.

    The quantizer joins a ReLU with the layer, and a range that ends at `most` clamps by itself. On its own, qnnpack's
    clamp made all of EfficientNet-Lite0's answers wrong.
    """
    from torch.nn import functional

    modules, caps = dict(net.named_modules()), {}
    for node in net.graph.nodes:
        if node.target is not functional.hardtanh or node.args[1:2] not in ((0.0,), (0,)):
            continue
        source = node.args[0]
        while source.op == "call_module" and "BatchNorm" in type(modules[source.target]).__name__:
            source = source.args[0]
        if source.op == "call_module" and hasattr(modules[source.target], "weight"):
            caps[source.target] = float(node.args[2])
            node.target, node.args = functional.relu, node.args[:1]
    net.recompile()
    return caps


def _capped(most: float) -> Any:
    from torch.ao.quantization.observer import MinMaxObserver

    class Capped(MinMaxObserver):
        def forward(self, values: Any) -> Any:
            """Clamp what is seen, and what goes on."""
            return super().forward(values.clamp(max=most))  # type: ignore[no-untyped-call]

    return Capped


def _eager(net: Any) -> Any:
    """Put the functions that the quantizer and the tracer know in the place of aten's operators.

    The tracer keeps a size free only where it is asked of the tensor itself.
    """
    import operator

    import torch
    from torch.nn import functional

    aten = torch.ops.aten
    known: dict[Any, Any] = {
        aten.relu.default: functional.relu,
        aten.relu_.default: functional.relu,
        aten.hardtanh.default: functional.hardtanh,
        aten.hardtanh_.default: functional.hardtanh,
        aten.add.Tensor: operator.add,
        aten.add_.Tensor: operator.add,
        aten.mul.Tensor: operator.mul,
        aten.cat.default: torch.cat,
        aten.flatten.using_ints: torch.flatten,
        aten.max_pool1d.default: functional.max_pool1d,
        aten.max_pool2d.default: functional.max_pool2d,
        aten.avg_pool2d.default: functional.avg_pool2d,
        aten.adaptive_avg_pool1d.default: functional.adaptive_avg_pool1d,
        aten.adaptive_avg_pool2d.default: functional.adaptive_avg_pool2d,
        aten.sigmoid.default: torch.sigmoid,
        aten.view.default: torch.reshape,
        aten.reshape.default: torch.reshape,
    }
    for node in net.graph.nodes:
        if node.op == "call_function" and node.target in known:
            node.target = known[node.target]
        elif node.op == "call_function" and node.target == aten.sym_size.int:
            node.op, node.target = "call_method", "size"
    net.recompile()
    return net


def _check_batch(traced: Any, request: Conversion, settings: Settings) -> None:
    found = traced(*examples(request.signature, settings, _OTHER_BATCH))
    outputs = found if isinstance(found, tuple) else (found,)
    for output, spec in zip(outputs, request.signature.outputs, strict=True):
        if spec.shape[0] == -1 and len(output) != _OTHER_BATCH:
            message = f"The batch of {spec.name} would be fixed: the program computes with its number."
            raise ConversionError("export.failed", message)


def _saved(traced: Any, settings: TorchscriptSettings) -> bytes:
    import torch

    if settings.format == "ptl":
        return _without_sources(traced._save_to_buffer_for_lite_interpreter(_save_mobile_debug_info=False))
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    return _without_sources(buffer.getvalue())


def _without_sources(archive: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(_SOURCES):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return made.getvalue()
