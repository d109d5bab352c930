"""OpenVINO, for its own IR (a zip of `model.xml` and `model.bin`) and ONNX files, QDQ ones too; the only importer of
openvino.

Options:
    device: One that OpenVINO finds here: `CPU` if it is not named, `GPU`, `NPU`, `GPU.1`.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino

from shoal.runtimes.model import NO_OPTIONS, Array, BadModel, LoadedModel, check_choice, check_options
from shoal.runtimes.signature import FileTensor, bind
from shoal.wire.models import Datatype, Signature

_CPU: Final = "CPU"
_TYPES: Final = {
    "boolean": Datatype.BOOL,
    "u8": Datatype.UINT8,
    "i8": Datatype.INT8,
    "i16": Datatype.INT16,
    "i32": Datatype.INT32,
    "i64": Datatype.INT64,
    "f16": Datatype.FP16,
    "f32": Datatype.FP32,
    "f64": Datatype.FP64,
}


class OpenVinoFile:
    """A file in OpenVINO."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self.inputs = _tensors(compiled.inputs)
        self.outputs = _tensors(compiled.outputs)
        self._request = compiled.create_infer_request()
        self._places = range(len(self.outputs))

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once."""
        try:
            outputs = self._request.infer(dict(enumerate(arrays)), share_inputs=True)
        except RuntimeError as error:
            raise BadModel("model.failed", f"OpenVINO could not run it: {str(error)[:500]}") from error
        return [outputs[place] for place in self._places]

    def close(self) -> None:
        """Give the memory back."""
        del self._request


class OpenVino:
    """Opens IR and `.onnx` files."""

    def __init__(self) -> None:
        self._core = openvino.Core()

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file."""
        check_options(options, ["device"])
        device = options.get("device", _CPU)
        found = self._core.available_devices
        check_choice("device", device, {*found, *(name.partition(".")[0] for name in found)})
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == _CPU:
            settings |= {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                # Some CPUs run fp32 as bfloat16 otherwise, which no golden set of another machine agrees with.
                "INFERENCE_PRECISION_HINT": "f32",
            }
        try:
            compiled = self._core.compile_model(self._read(path), device, settings)
        except RuntimeError as error:
            raise BadModel("model.not_loadable", f"OpenVINO cannot load it: {str(error)[:500]}") from error
        return bind(OpenVinoFile(compiled), signature)

    def _read(self, path: Path) -> openvino.Model:
        if not zipfile.is_zipfile(path):
            return self._core.read_model(path.read_bytes())  # of ONNX: no files beside it are read
        try:
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise BadModel("model.not_loadable", "An OpenVINO file is a zip without compression.")
                xml, weights = archive.read("model.xml"), archive.read("model.bin")
        except (KeyError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            message = f"An OpenVINO file is a zip of model.xml and model.bin: {error}"
            raise BadModel("model.not_loadable", message) from error
        return self._core.read_model(xml, openvino.Tensor(np.frombuffer(weights, np.uint8)))


RUNTIME: Final = OpenVino()


def _tensors(ports: list[Any]) -> list[FileTensor]:
    found = []
    for port in ports:
        # A port may be without a name, as an output of a model that was read from another format.
        name = port.get_any_name() if port.get_names() else None
        datatype = _TYPES.get(port.get_element_type().get_type_name())
        if datatype is None:
            raise BadModel("model.not_supported", f"The tensor {name} is {port.get_element_type().get_type_name()}.")
        shape = None
        if not port.get_partial_shape().rank.is_dynamic:
            shape = tuple(axis.get_length() if axis.is_static else -1 for axis in port.get_partial_shape()) or None
        found.append(FileTensor(name=name, datatype=datatype, shape=shape))
    return found
