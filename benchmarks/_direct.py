"""One runtime in a process of its own, under the Python that has it: makes its file, and times it both ways.

`python -m benchmarks._direct convert|time RUNTIME FOLDER MODEL [RUNS]`, a line of JSON in the end. The folder has
`MODEL.pt2`, `MODEL.safetensors` and `MODEL.json`, the signature; the file becomes `MODEL.RUNTIME`.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.wire.models import Signature

CONVERTERS: Final = {"onnxruntime": "onnx"}  # else the runtime's own name
_WARM: Final = 20

Array = NDArray[np.float32]
Call = Callable[[Array], Array]


def main() -> None:
    """Do what the arguments say."""
    what, runtime, folder, model, *more = sys.argv[1:]
    signature = msgspec.json.decode((Path(folder) / f"{model}.json").read_bytes(), type=Signature)
    file = Path(folder) / f"{model}.{runtime}"
    if what == "convert":
        said = _convert(runtime, Path(folder) / model, file, signature)
    else:
        said = _time(runtime, file, signature, int(more[0]))
    sys.stdout.write(json.dumps(said) + "\n")


def _convert(runtime: str, source: Path, file: Path, signature: Signature) -> dict[str, Any]:
    from controller.compression.export.conversion import Conversion

    module = import_module(f"controller.compression.export.{CONVERTERS.get(runtime, runtime)}")
    made = module.convert(
        Conversion(
            program=source.with_suffix(".pt2").read_bytes(),
            weights=source.with_suffix(".safetensors").read_bytes(),
            signature=signature,
            precision="fp32",
        )
    )
    file.write_bytes(made.model)
    return {"size_bytes": len(made.model)}


def _time(runtime: str, file: Path, signature: Signature, runs: int) -> dict[str, Any]:
    from shoal.runtimes import load_runtime

    ours = load_runtime(runtime).open(file, signature=signature)
    peer: Call = globals()[f"_{runtime}"](file)
    name, output = signature.inputs[0].name, signature.outputs[0].name
    x = np.random.default_rng(0).random([1, *signature.inputs[0].shape[1:]], np.float32)
    inputs = {name: x}
    np.testing.assert_allclose(ours.infer(inputs)[output], peer(x), atol=1e-4)
    times: tuple[list[int], list[int]] = ([], [])
    for run in range(runs + _WARM):
        for side in (0, 1) if run % 2 else (1, 0):  # whoever comes second finds the caches warm
            began = time.perf_counter_ns()
            _ = ours.infer(inputs) if side == 0 else peer(x)
            lasted = time.perf_counter_ns() - began
            if run >= _WARM:
                times[side].append(lasted)
    return {"ours_ms": float(np.median(times[0])) / 1e6, "peer_ms": float(np.median(times[1])) / 1e6}


def _onnxruntime(file: Path) -> Call:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.read_bytes(), settings, providers=["CPUExecutionProvider"])
    (name,) = [argument.name for argument in session.get_inputs()]
    return lambda x: session.run(None, {name: x})[0]


def _openvino(file: Path) -> Call:
    import io
    import zipfile

    import openvino

    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        xml, weights = archive.read("model.xml"), archive.read("model.bin")
    core = openvino.Core()
    model = core.read_model(xml, openvino.Tensor(np.frombuffer(weights, np.uint8)))
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **settings}).create_infer_request()
    return lambda x: request.infer({0: x}, share_inputs=True)[0]


def _litert(file: Path) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x: Array) -> Array:
        interpreter.set_tensor(taken, x)
        interpreter.invoke()
        output: Array = interpreter.get_tensor(given)
        return output

    return run


def _torchscript(file: Path) -> Call:
    import torch

    torch.set_num_threads(1)
    module: Any = torch.jit.load(str(file), "cpu").eval()  # type: ignore[no-untyped-call]

    def run(x: Array) -> Array:
        with torch.inference_mode():
            output: Array = module(torch.from_numpy(x)).numpy()
        return output

    return run


def _executorch(file: Path) -> Call:
    import torch
    from executorch.runtime import Runtime

    method: Any = Runtime.get().load_program(file).load_method("forward")

    def run(x: Array) -> Array:
        output: Array = method.execute([torch.from_numpy(x)])[0].numpy()
        return output

    return run


if __name__ == "__main__":
    main()
