"""Ready-made model files told by their bytes, without a library that opens them. Pure; runs nothing of a file.

What is found out here is cheap and certain: another format than was said, a file that was cut off, a pickle, an archive
that would unpack to more than it says. Whether a file works is found out in the sandbox.
"""

import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from controller.errors import Invalid

MAX_FILE_BYTES: Final = 2 * 1024**3  # a protobuf cannot be larger, and no device here could hold it
_MAX_ENTRIES: Final = 100_000
_MAX_FIELDS: Final = 100_000  # of an ONNX file's top level: functions, metadata
_MAX_UNPACKED: Final = 8  # times the archive's size, beside the allowance: code and constants pack well, weights do not
_UNPACKED_ALLOWANCE_BYTES: Final = 64 * 1024**2
_HEAD_BYTES: Final = 512
_NAMES: Final = {
    "onnx": "ONNX",
    "tflite": "TensorFlow Lite",
    "torchscript": "TorchScript",
    "ptl": "TorchScript for the lite interpreter",
    "pte": "ExecuTorch",
    "openvino": "OpenVINO IR",
    "eim": "Edge Impulse",
}
# Fields of ModelProto (onnx/onnx.proto): number -> wire type.
_MODEL_PROTO: Final = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_GRAPH, _OPSETS = 7, 8
# What the zip reader raises for an archive that is none, or that hides something.
ZIP_ERRORS: Final = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


class _NotThis(Exception):
    """The bytes are of another format."""


def check_file(file: BinaryIO, size: int, format: str) -> None:
    """Check that a file has the format that was said.

    Args:
        size: Of the file, in bytes.
        format: As `shoal.schemas.artifacts.VersionRequest` has it, without `program`.

    Raises:
        Invalid: `model.wrong_format`, `model.truncated`, `model.pickled`, `model.bad_archive`.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise Invalid("model.pickled", "This is a pickle, which runs code when it is read. Export the model instead.")
    try:
        _CHECKS[format](file, size, head)
    except _NotThis:
        found = _recognize(file, size, head, other_than=format)
        like = f" It looks like {found}." if found else ""
        raise Invalid("model.wrong_format", f"This is no {_NAMES[format]} file.{like}") from None


def _recognize(file: BinaryIO, size: int, head: bytes, other_than: str) -> str:
    for format, check in _CHECKS.items():
        if format != other_than:
            try:
                check(file, size, head)
            except _NotThis:
                continue
            except Invalid:
                return f"a damaged {_NAMES[format]} file"
            return f"{_NAMES[format]} (format {format})"
    if head[:2] == b"PK" and _is_program(file):
        return "an exported program (format program)"
    return ""


def _truncated(format: str) -> Invalid:
    return Invalid("model.truncated", f"This {_NAMES[format]} file was cut off. Upload it once more.")


def _check_tflite(_: BinaryIO, size: int, head: bytes) -> None:
    # A flatbuffer: the root table's offset, then the identifier (tensorflow/compiler/mlir/lite/schema/schema.fbs).
    if head[4:8] != b"TFL3":
        raise _NotThis
    if int.from_bytes(head[:4], "little") + 4 > size:
        raise _truncated("tflite")


def _check_pte(_: BinaryIO, size: int, head: bytes) -> None:
    # A flatbuffer with an extended header (executorch/runtime/executor/program, `eh00`): sizes of both halves.
    if head[4:6] != b"ET" or not head[6:8].isdigit():
        raise _NotThis
    needed = int.from_bytes(head[:4], "little") + 4
    if head[8:12] == b"eh00" and len(head) >= 32:
        length, program = struct.unpack("<IQ", head[12:24])
        base = int.from_bytes(head[24:32], "little")
        data = int.from_bytes(head[32:40], "little") if length >= 32 else 0
        needed = max(needed, program, base + data)
    if needed > size:
        raise _truncated("pte")


def _check_eim(_: BinaryIO, size: int, head: bytes) -> None:
    # An executable (ELF, System V ABI chapter 4): its section headers stand at its end.
    if head[:4] != b"\x7fELF" or head[4:5] not in (b"\x01", b"\x02") or len(head) < 64:
        raise _NotThis
    order = "<" if head[5:6] == b"\x01" else ">"
    if head[4:5] == b"\x02":
        at = struct.unpack(f"{order}Q", head[40:48])[0]
        entry, count = struct.unpack(f"{order}HH", head[58:62])
    else:
        at = struct.unpack(f"{order}I", head[32:36])[0]
        entry, count = struct.unpack(f"{order}HH", head[46:50])
    if at + entry * count > size:
        raise _truncated("eim")


def _check_onnx(file: BinaryIO, size: int, head: bytes) -> None:
    """Walk along the fields of the outermost message, jumping over what they hold."""
    if not head:
        raise _NotThis
    seen: set[int] = set()
    position = 0
    for _ in range(_MAX_FIELDS):
        if position == size:
            break
        tag, position = _varint(file, position, size, bool(seen))
        number, wire = tag >> 3, tag & 7
        if _MODEL_PROTO.get(number) != wire:
            raise _NotThis
        value, position = _varint(file, position, size, bool(seen))
        seen.add(number)
        if wire == 2:
            position += value
            if position > size:
                # Any text may begin like a field; one that began with the IR's version was cut off.
                raise _truncated("onnx") if 1 in seen else _NotThis
    if not {_GRAPH, _OPSETS} <= seen:
        raise _truncated("onnx") if 1 in seen and len(seen) > 1 else _NotThis


def _varint(file: BinaryIO, position: int, size: int, is_within: bool) -> tuple[int, int]:
    file.seek(position)
    value = 0
    for index, byte in enumerate(file.read(10)):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, position + index + 1
    raise _truncated("onnx") if is_within and position + 10 > size else _NotThis


def _check_script(file: BinaryIO, size: int, head: bytes, *, is_lite: bool) -> None:
    names = _script_names(file, size, head, "ptl" if is_lite else "torchscript")
    if "constants.pkl" not in names or not any(name.startswith("code/") for name in names):
        if "data.pkl" in names:
            message = "This was made by torch.save, and running a pickle's code is what opening it means. "
            raise Invalid("model.pickled", f"{message}Export the model, or make it TorchScript.")
        raise _NotThis
    if is_lite and "bytecode.pkl" not in names:
        raise _NotThis


def _script_names(file: BinaryIO, size: int, head: bytes, format: str) -> set[str]:
    entries = _entries(file, size, head, format)
    roots = {name.partition("/")[0] for name in entries}
    if len(roots) != 1:
        raise _NotThis
    (root,) = roots
    return {name.removeprefix(f"{root}/") for name in entries}


def _check_openvino(file: BinaryIO, size: int, head: bytes) -> None:
    entries = _entries(file, size, head, "openvino")
    if not any(name.endswith(".xml") for name in entries):
        raise _NotThis
    if set(entries) != {"model.xml", "model.bin"}:
        raise Invalid("model.bad_archive", "An OpenVINO IR is a zip of model.xml and model.bin, and nothing else.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise Invalid("model.bad_archive", "The zip of an OpenVINO IR is not compressed: `zip -0`.")
    with zipfile.ZipFile(file) as archive, archive.open("model.xml") as text:
        if not text.read(_HEAD_BYTES).lstrip().startswith((b"<?xml", b"<net")):
            raise Invalid("model.bad_archive", "model.xml is no OpenVINO network.")


def _entries(file: BinaryIO, size: int, head: bytes, format: str) -> Mapping[str, zipfile.ZipInfo]:
    """Give an archive's directory, once it is bounded.

    Raises:
        Invalid: `model.truncated`, `model.bad_archive`.
    """
    if head[:4] != b"PK\x03\x04":
        raise _NotThis
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except ZIP_ERRORS as error:
        raise _truncated(format) from error
    entries = {entry.filename: entry for entry in found}
    packed = sum(entry.compress_size for entry in found)
    unpacked = sum(entry.file_size for entry in found)
    if len(entries) != len(found) or len(found) > _MAX_ENTRIES or packed > size:
        raise Invalid("model.bad_archive", "The archive's entries come twice, are too many, or overlap.")
    if unpacked > _MAX_UNPACKED * size + _UNPACKED_ALLOWANCE_BYTES:
        raise Invalid("model.bad_archive", f"The archive of {size} bytes would unpack to {unpacked} bytes.")
    return entries


def _is_program(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/archive_format") for name in archive.namelist())
    except ZIP_ERRORS:
        return False


_CHECKS: Final[Mapping[str, Callable[[BinaryIO, int, bytes], None]]] = {
    "tflite": _check_tflite,
    "pte": _check_pte,
    "eim": _check_eim,
    "openvino": _check_openvino,
    "ptl": lambda file, size, head: _check_script(file, size, head, is_lite=True),
    "torchscript": lambda file, size, head: _check_script(file, size, head, is_lite=False),
    "onnx": _check_onnx,  # last: it has no identifier
}
