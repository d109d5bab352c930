"""Frames between a process and its child over a Unix socket: four bytes of length, then msgpack. Tensors go as files
or as safetensors bytes.
"""

import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")


class FrameError(Exception):
    """The other side broke off, or sent what is no frame."""


def write_frame(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a frame."""
    body = msgspec.msgpack.encode(message)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def read_frame(connection: socket.socket) -> dict[str, Any] | None:
    """Take a frame; None where the other side has closed between two frames.

    Raises:
        FrameError: It broke off inside one, or the frame is too large or does not parse.
    """
    head = _read(connection, _LENGTH.size)
    if not head:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes is too large")
    try:
        message: dict[str, Any] = msgspec.msgpack.decode(_read(connection, length), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise FrameError(f"a frame does not parse: {error}") from error
    return message


def serve_one(path: str, serve: Callable[[socket.socket], None]) -> int:
    """Listen at a path, take the one connection that comes, and serve it; gives the process's exit code."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        listening.settimeout(60)  # nobody came: whoever started this is gone
        connection, _ = listening.accept()
    with connection:
        connection.settimeout(None)
        try:
            serve(connection)
        except (FrameError, OSError):
            return 1
    return 0


def _read(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(min(length - len(data), 1024 * 1024))
        if not chunk:
            if data:
                raise FrameError("the other side broke off inside a frame")
            return b""
        data += chunk
    return bytes(data)
