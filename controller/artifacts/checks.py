"""What uploaded bytes must be before a row may name them. Pure; runs no code that an upload brings.

An exported program is never loaded here: loading one can run code. Only its archive's directory is looked at; that it
is a program that works is found out in the runner's sandbox.
"""

import zipfile
from typing import BinaryIO, Final

from controller.artifacts.formats import ZIP_ERRORS
from controller.artifacts.tensor_file import Malformed, Read, TensorFile
from controller.errors import Invalid

MAX_TENSOR_FILE_BYTES: Final = 512 * 1024**2  # workers and devices read it into memory
_MAX_WEIGHTS_HEADER_BYTES: Final = 16 * 1024**2  # some hundred thousand tensors
_MAX_ARCHIVE_ENTRIES: Final = 100_000
_MAX_FORMAT_BYTES: Final = 16


def check_weights(read: Read, size_bytes: int) -> None:
    """Check that these are a model's weights: safetensors, at least one tensor, all values finite.

    Raises:
        Invalid: `model.bad_weights`.
    """
    try:
        file = TensorFile(read, size_bytes, max_header_bytes=_MAX_WEIGHTS_HEADER_BYTES)
        if not file.tensors:
            raise Malformed("it holds no tensor")
        for name in file.tensors:
            if not file.is_finite(name):
                raise Malformed(f"{name[:100]} has NaN or infinite values")
    except Malformed as error:
        raise Invalid("model.bad_weights", f"The file is no model's weights as safetensors: {error}.") from error


def check_program(file: BinaryIO, what: str) -> None:
    """Check that an archive looks like one of `torch.export.save`, without loading it.

    Args:
        file: The .pt2.
        what: Which program it shall be, for the message.

    Raises:
        Invalid: `model.not_a_program`.
    """
    refusal = Invalid("model.not_a_program", f"The {what} program is no .pt2 as torch.export.save writes it.")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            roots = {entry.filename.partition("/")[0] for entry in entries}
            if len(entries) > _MAX_ARCHIVE_ENTRIES or len(roots) != 1:
                raise refusal
            (root,) = roots
            names = {entry.filename.removeprefix(f"{root}/"): entry for entry in entries}
            kind = names.get("archive_format")
            has_model = any(name.startswith("models/") and name.endswith(".json") for name in names)
            # The stated size bounds what is unpacked: the zip reader cuts off there.
            if kind is None or kind.file_size > _MAX_FORMAT_BYTES or archive.read(kind) != b"pt2" or not has_model:
                raise refusal
    except ZIP_ERRORS as error:
        raise refusal from error
