"""The Open Inference Protocol v2: bodies to tensors and back, in JSON and in binary. Knows no HTTP server."""

from typing import Any, Final

import msgspec
import numpy as np

from shoal.runtimes.model import BadModel, Tensor, TensorSpec

HEADER_LENGTH: Final = "Inference-Header-Content-Length"


class InferInput(msgspec.Struct):
    """An input of a request; `data` is absent where the tensor follows in binary."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = {}


class InferOutput(msgspec.Struct):
    """An output that the client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """The body of `POST .../infer`."""

    inputs: list[InferInput]
    id: str = ""
    outputs: list[InferOutput] = []
    parameters: dict[str, Any] = {}


def parse_request(body: bytes, header_length: str | None) -> tuple[InferRequest, bytes]:
    """Take a request apart into its JSON and the binary tensors that follow it.

    Args:
        header_length: The header `Inference-Header-Content-Length`; None where all is JSON.

    Raises:
        BadModel: `request.malformed`.
    """
    try:
        split = len(body) if header_length is None else int(header_length)
        return msgspec.json.decode(body[:split], type=InferRequest), body[split:]
    except (msgspec.DecodeError, ValueError) as error:
        raise BadModel("request.malformed", f"Not an inference request: {error}") from error


def tensor_of(asked: InferRequest, binary: bytes, spec: TensorSpec) -> Tensor:
    """Give the one input.

    Raises:
        BadModel: `input.unknown`, `input.bad_size`, `input.bad_shape`.
    """
    if len(asked.inputs) != 1 or asked.inputs[0].name != spec.name or asked.inputs[0].datatype != spec.datatype:
        raise BadModel("input.unknown", f"The one input is {spec.name}, {spec.datatype}.")
    tensor = asked.inputs[0]
    size = tensor.parameters.get("binary_data_size")
    try:
        if size is None:
            flat = np.asarray(tensor.data, dtype=np.float32)
        elif size != len(binary):
            raise BadModel("input.bad_size", f"{len(binary)} bytes of tensors came, announced were {size}.")
        else:
            flat = np.frombuffer(binary, dtype="<f4")
        return np.asarray(flat.reshape(tensor.shape), dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise BadModel("input.bad_shape", f"The data does not make a tensor of shape {tensor.shape}.") from error


def answer(
    asked: InferRequest, output: Tensor, *, model: str, version: int, spec: TensorSpec
) -> tuple[bytes, str, dict[str, str]]:
    """Give the body, the media type and the headers of an answer, in binary where the request wants it."""
    described: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(output.shape)}
    told = {"model_name": model, "model_version": str(version), "id": asked.id, "outputs": [described]}
    wants_binary = bool(asked.parameters.get("binary_data_output")) or any(
        wanted.parameters.get("binary_data") for wanted in asked.outputs
    )
    if not wants_binary:
        described["data"] = output.ravel().tolist()
        return msgspec.json.encode(told), "application/json", {}
    raw = np.ascontiguousarray(output, dtype="<f4").tobytes()
    described["parameters"] = {"binary_data_size": len(raw)}
    header = msgspec.json.encode(told)
    return header + raw, "application/octet-stream", {HEADER_LENGTH: str(len(header))}


def describe(spec: TensorSpec) -> dict[str, Any]:
    """Give a tensor as a model's metadata name it."""
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
