"""Serves inside the sandbox: reads an uploaded file, and gives it as safetensors, a piece at a time.

    open   {path, format, label_column, class_labels, preprocessing, inputs} -> {size_bytes, samples, class_labels}
    read   {} -> {data, is_last}

An answer is {ok: true, ...} or {ok: false, code, message}. No more than a few samples are in memory at once.
"""

import socket
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from controller.artifacts.dataset_file import header_of
from controller.datasets.source import Refused, Source, Wanted
from shoal.runtimes.frames import read_frame, write_frame
from shoal.wire.models import Preprocessing, TensorSpec

_FORMATS: Final = {name: f"controller.datasets.{name}" for name in ("npz", "parquet", "images")}
_ANSWER_BYTES: Final = 4 * 2**20


class Converter:
    """The requests, one method each."""

    def __init__(self) -> None:
        self._left: Iterator[bytes] = iter(())

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with the file is part of the answer."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {"open": self.open, "read": self.read}
        try:
            arguments = dict(request)
            return {"ok": True, **operations[arguments.pop("op")](**arguments)}
        except Refused as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except MemoryError:
            return {"ok": False, "code": "dataset.over_limit", "message": "The file needs more memory than it may use."}
        except Exception as error:  # the edge: what a hostile file makes its reader do is never known wholly
            message = f"The file could not be read: {type(error).__name__}: {error}"[:500]
            return {"ok": False, "code": "dataset.malformed", "message": message}

    def open(self, path: str, format: str, inputs: list[Any], preprocessing: list[Any], **more: Any) -> dict[str, Any]:
        """Look at what the file holds."""
        wanted = Wanted(
            inputs=msgspec.convert(inputs, list[TensorSpec]),
            preprocessing=msgspec.convert(preprocessing, Preprocessing),
            **more,
        )
        source: Source = import_module(_FORMATS[format]).open_file(Path(path), wanted)
        header = header_of(source.tensors)
        self._left = _even(header, source)
        return {
            "size_bytes": len(header) + sum(tensor.size_bytes for tensor in source.tensors),
            "samples": source.tensors[0].shape[0],
            "class_labels": source.class_labels,
        }

    def read(self) -> dict[str, Any]:
        """Give the next piece; the last one is empty."""
        data = next(self._left, b"")
        return {"data": data, "is_last": not data}


def _even(header: bytes, source: Source) -> Iterator[bytes]:
    """Give header and elements in pieces of one size."""
    kept = bytearray(header)
    for elements in source.elements():
        kept += elements
        while len(kept) >= _ANSWER_BYTES:
            yield bytes(kept[:_ANSWER_BYTES])
            del kept[:_ANSWER_BYTES]
    if kept:
        yield bytes(kept)


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    converter = Converter()
    while (request := read_frame(connection)) is not None:
        write_frame(connection, converter.answer(request))
