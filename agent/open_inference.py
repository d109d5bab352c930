"""The Open Inference Protocol v2: bodies to tensors and back, in JSON and in binary. Knows no HTTP server."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from shoal.runtimes.bodies import array_of, described, known_datatype, shaped
from shoal.runtimes.model import DTYPES, Array, BadModel
from shoal.wire.models import TensorSpec

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


def tensors_of(asked: InferRequest, binary: bytes) -> dict[str, Array]:
    """Give the inputs by name; whether they are the model's, the model tells.

    Args:
        binary: The tensors that came so, one after the other in the order of the inputs.

    Raises:
        BadModel: `input.unknown`, `input.bad_datatype`, `input.bad_size`, `input.bad_shape`.
    """
    tensors: dict[str, Array] = {}
    rest = memoryview(binary)
    for tensor in asked.inputs:
        if tensor.name in tensors:
            raise BadModel("input.unknown", f"The input {tensor.name[:80]} came twice.")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            tensors[tensor.name] = array_of(tensor.name, tensor.datatype, tensor.shape, tensor.data)
        else:
            tensors[tensor.name] = _binary(tensor, rest, size)
            rest = rest[size:]
    if rest:
        raise BadModel("input.bad_size", f"{len(rest)} bytes of tensors came that no input announces.")
    return tensors


def answer(
    asked: InferRequest, outputs: Mapping[str, Array], *, model: str, version: int
) -> tuple[bytes, str, dict[str, str]]:
    """Give the body, the media type and the headers of an answer: those outputs that were asked for, or all of them.

    Raises:
        BadModel: `output.unknown`.
    """
    wanted = asked.outputs or [InferOutput(name=name) for name in outputs]
    told, binary = [], []
    for one in wanted:
        if one.name not in outputs:
            raise BadModel("output.unknown", f"There is no output {one.name[:80]}; there are: {', '.join(outputs)}.")
        array = outputs[one.name]
        tensor = described(one.name, array)
        if one.parameters.get("binary_data", asked.parameters.get("binary_data_output")):
            binary.append(np.ascontiguousarray(array).tobytes())
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        told.append(tensor)
    header = msgspec.json.encode({"model_name": model, "model_version": str(version), "id": asked.id, "outputs": told})
    if not binary:
        return header, "application/json", {}
    return b"".join([header, *binary]), "application/octet-stream", {HEADER_LENGTH: str(len(header))}


def describe(spec: TensorSpec) -> dict[str, Any]:
    """Give a tensor as a model's metadata name it."""
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": list(spec.shape)}


def _binary(tensor: InferInput, rest: memoryview, size: Any) -> Array:
    dtype = DTYPES[known_datatype(tensor.name, tensor.datatype)]
    announced = size if isinstance(size, int) and size >= 0 else -1
    if len(rest) < announced or announced != math.prod(tensor.shape) * dtype.itemsize:
        message = f"{len(rest)} bytes of tensors are there; {tensor.name[:80]} announces {size} for {tensor.shape[:8]}."
        raise BadModel("input.bad_size", message)
    return shaped(tensor.name, np.frombuffer(rest[:announced], dtype), tensor.shape)
