"""Images: a zip of folders, one a class, or of images alone. Runs inside the sandbox.

They come in an order that is the same each time and mixes the classes, so that the first ones are of all. Where a model
declares how raw images are prepared, they are stored so; else as they are, which demands one size.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from controller.artifacts.dataset_file import DatasetTensor
from controller.datasets import archive as archives
from controller.datasets.source import MAX_SAMPLE_BYTES, Refused, Source, Wanted, check_sizes
from shoal.runtimes.model import BadModel, datatype_of
from shoal.runtimes.preprocessing import RAW, inputs_of
from shoal.wire.models import Datatype

MAX_PIXELS: Final = 64 * 2**20
_FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP")
_NOT_SAMPLES: Final = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})

Image.MAX_IMAGE_PIXELS = None  # this module's own bound refuses by name, and a file at that


class Images:
    """An opened zip of images."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        """Look at what it holds.

        Raises:
            Refused: `dataset.malformed`, `dataset.unknown_class`, `dataset.bad_image`, `dataset.bomb`, ...
        """
        self._wanted = wanted
        self._archive = archives.open_archive(path)
        found = [(entry, parts) for entry in self._archive.infolist() if (parts := _parts(entry))]
        if not found:
            raise Refused("dataset.malformed", "The archive holds no images.")
        found = _without_root(found)
        self.class_labels, self._labels = _classes(found, wanted)
        order = sorted(range(len(found)), key=lambda place: hashlib.sha256(found[place][0].filename.encode()).digest())
        self._entries = [found[place][0] for place in order]
        self._labels = [self._labels[place] for place in order] if self._labels else []
        self._first = self._sample(self._entries[0])
        count = len(self._entries)
        datatype = datatype_of(self._first.dtype, "x")
        labels = [DatasetTensor(name="y", datatype=Datatype.INT64, shape=[count])] if self._labels else []
        self.tensors = [
            *labels,
            DatasetTensor(name="x", datatype=datatype, shape=[count, *map(int, self._first.shape)]),
        ]
        check_sizes(self.tensors)

    def elements(self) -> Iterator[bytes]:
        """Give the elements, see `Source`."""
        if self._labels:
            yield np.array(self._labels, "<i8").tobytes()
        for entry in self._entries:
            sample = self._sample(entry)
            if sample.shape != self._first.shape:
                name, first = archives.said(entry.filename), list(self._first.shape)
                message = (
                    f"{name} becomes {list(sample.shape)}, and others {first}: "
                    "name a model whose preprocessing brings them to one size, or do so before."
                )
                raise Refused("dataset.size_differs", message)
            yield sample.tobytes()

    def _sample(self, entry: zipfile.ZipInfo) -> NDArray[Any]:
        """Give an image as the model takes it, or as it is: uint8 [height, width, 3]."""
        name = archives.said(entry.filename)
        image = self._decoded(entry, name)
        if not self._wanted.preprocessing:
            return image
        try:
            (prepared,) = inputs_of({RAW: image[None]}, self._wanted.inputs, self._wanted.preprocessing).values()
        except BadModel as error:
            raise Refused("dataset.bad_image", f"{name} cannot be prepared for the model: {error}") from error
        if len(prepared) != 1:
            raise Refused("dataset.bad_image", f"{name} becomes {len(prepared)} samples.")
        return np.ascontiguousarray(prepared[0])

    def _decoded(self, entry: zipfile.ZipInfo, name: str) -> NDArray[np.uint8]:
        if entry.file_size > MAX_SAMPLE_BYTES:
            raise Refused("dataset.too_large", f"{name} has more than {MAX_SAMPLE_BYTES} bytes.")
        data = b"".join(archives.pieces(self._archive, entry))
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    message = (
                        f"{name} would have {image.width} x {image.height} pixels; at most {MAX_PIXELS} are taken."
                    )
                    raise Refused("dataset.bomb", message)
                upright = ImageOps.exif_transpose(image)
                return np.asarray(upright.convert("RGB"), np.uint8)
        except Refused:
            raise
        except UnidentifiedImageError as error:
            raise Refused("dataset.bad_image", f"{name} is no JPEG, PNG, BMP or WebP image.") from error
        except MemoryError:
            raise
        except Exception as error:  # a damaged image makes its decoder fail in as many ways as there are decoders
            raise Refused("dataset.bad_image", f"{name} is damaged: {str(error)[:200]}") from error


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """Give the parts of an entry's name; none where it is no sample.

    Raises:
        Refused: `dataset.malformed`: it leads out of the archive.
    """
    if entry.is_dir():
        return ()
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or "\0" in entry.orig_filename:
        raise Refused("dataset.malformed", f"{archives.said(entry.filename)} leads out of the archive.")
    if any(part.startswith(".") or part in _NOT_SAMPLES for part in path.parts):
        return ()
    return path.parts


def _without_root(
    found: list[tuple[zipfile.ZipInfo, tuple[str, ...]]],
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """Take a folder away that holds the folders of all classes."""
    while len({parts[0] for _, parts in found}) == 1 and all(len(parts) > 2 for _, parts in found):
        found = [(entry, parts[1:]) for entry, parts in found]
    return found


def _classes(found: list[tuple[zipfile.ZipInfo, tuple[str, ...]]], wanted: Wanted) -> tuple[list[str], list[int]]:
    """Give the classes, and the number of each image's; none where they lie in no folders."""
    depths = {len(parts) for _, parts in found}
    if depths == {1}:
        return [], []
    if depths != {2}:
        message = "Images lie in folders, one a class, and all at one depth; or all in none."
        raise Refused("dataset.malformed", message)
    folders = [parts[0] for _, parts in found]
    if len(set(folders)) == 1 and folders[0] not in wanted.class_labels:
        return [], []  # a folder around images, and no class
    labels = list(wanted.class_labels) or sorted(set(folders))
    places = {label: place for place, label in enumerate(labels)}
    if strange := next((folder for folder in folders if folder not in places), None):
        known = ", ".join(labels[:20])
        raise Refused("dataset.unknown_class", f"The folder {archives.said(strange)} is no class; known are {known}.")
    return labels, [places[folder] for folder in folders]


def open_file(path: Path, wanted: Wanted) -> Source:
    """Open a file of this format."""
    return Images(path, wanted)
