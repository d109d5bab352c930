"""Serves inside the sandbox: makes a file for a runtime, by the converter of that runtime.

Its owner starts it with the Python that has the converter's library, `puts` what is converted, and asks:

    check(converter, precision, source)  # conversion.check: before anything is started
    python = toolchain.python() if needs_toolchain(converter, precision, source) else None
    sandbox = Sandbox.start("controller.compression.workers.converter", interpreter=python, limits=..., ...)
    sandbox.ask("convert", timeout_s=..., converter="litert", precision="int8", source="program", signature={...},
                program=sandbox.put("program", ...), weights=sandbox.put("weights", ...),
                calibration=sandbox.put("calibration", ...), settings={...})

A `source` is `program` (`program`, `weights`), `onnx` or `tflite` (`model`). All of these, and `calibration`, a data
set's file (`x`, or `x.<input>`), are paths inside. The answer has `model` (bytes), `format` and `notes`, or a code of
`ConversionError`. One that dies is `converter.crashed`, one over its time or memory `converter.over_limit`: the owner
blames them on the noun `converter`. The same process converts as often as it is asked.
"""

import logging
import socket
import warnings
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import msgspec

from controller.compression.export.conversion import CONVERTERS, Conversion, ConversionError, Converted, check
from controller.compression.export.refusals import refusal
from shoal.runtimes.frames import MAX_FRAME_BYTES, read_frame, write_frame
from shoal.wire.errors import WireError
from shoal.wire.models import Signature
from shoal.wire.tensors import decode_tensors

_NOTE_BYTES: Final = 64 * 1024


class _Module(Protocol):
    def convert(self, request: Conversion) -> Converted: ...


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for, beside `op`; see the module's docstring."""

    converter: str
    precision: str
    signature: Signature
    source: str = "program"
    program: str | None = None
    weights: str | None = None
    model: str | None = None
    calibration: str | None = None
    settings: Annotated[dict[str, Any], msgspec.Meta(max_length=64)] = {}


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    logging.disable(logging.CRITICAL)  # converters talk much, to nobody
    warnings.simplefilter("ignore")
    while (request := read_frame(connection)) is not None:
        write_frame(connection, answer(request))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for; what is wrong with it is part of the answer."""
    try:
        arguments = dict(request)
        if arguments.pop("op", None) != "convert":
            raise ConversionError("request.invalid", "The only operation is convert.")
        made = convert(msgspec.convert(arguments, Request))
    except msgspec.ValidationError as error:
        return _refusal("request.invalid", str(error))
    except (ConversionError, WireError) as error:
        return _refusal(error.code, str(error))
    except MemoryError:
        return _refusal("converter.over_limit", "The conversion needs more memory than it may use.")
    if len(made.model) > MAX_FRAME_BYTES - _NOTE_BYTES:
        return _refusal("model.too_large", f"The made file has {len(made.model)} bytes; it may have {MAX_FRAME_BYTES}.")
    return {"ok": True, "model": made.model, "format": made.format, "notes": dict(made.notes)}


def convert(request: Request) -> Converted:
    """Read what is converted, and convert it.

    Raises:
        ConversionError: Its codes.
        shoal.wire.errors.WireError: `tensors.malformed`.
    """
    if request.converter not in CONVERTERS:
        raise ConversionError("export.not_supported", f"There is no converter {request.converter[:40]}.")
    check(request.converter, request.precision, request.source)
    conversion = Conversion(
        signature=request.signature,
        precision=request.precision,
        source=request.source,
        program=_read(request.program),
        weights=_read(request.weights),
        model=_read(request.model),
        calibration=_calibration(request),
        settings=request.settings,
    )
    if (conversion.program if request.source == "program" else conversion.model) is None:
        raise ConversionError("request.invalid", f"There is no file of the source {request.source}.")
    module: _Module = import_module(f"controller.compression.export.{request.converter}")
    try:
        return module.convert(conversion)
    except (ConversionError, WireError, MemoryError):
        raise
    except Exception as error:  # converters fail in as many ways as there are programs
        raise refusal(error, request.converter) from error


def _read(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _calibration(request: Request) -> dict[str, Any] | None:
    """Give the samples of a data set's file by input name: `x` is of the only input."""
    if request.calibration is None:
        return None
    tensors = decode_tensors(Path(request.calibration).read_bytes())
    found = {name.removeprefix("x."): array for name, array in tensors.items() if name.startswith("x.")}
    if "x" in tensors and len(request.signature.inputs) == 1:
        found[request.signature.inputs[0].name] = tensors["x"]
    return found


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message[:2000]}
