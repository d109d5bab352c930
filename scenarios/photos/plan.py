"""What the scenario does, in figures, and what it must reach."""

from typing import Any, Final

MODEL: Final = "efficientnet-lite0"
RUNTIMES: Final = ("onnxruntime", "openvino", "litert", "executorch", "torchscript")
ON_THE_DEVICE: Final = ("onnxruntime", "openvino", "litert", "torchscript")  # what stands beside an agent here
BY_NNCF: Final = "int8-nncf"
SIDE: Final = 224
CLASSES: Final = 1000
PHOTOS: Final = "photos"
CALIBRATION: Final = "photos-mirrored"
GOLDEN: Final = "photos-golden"

# As the network was trained: the middle of the photo, (x - 127) / 128 on 0..255.
PREPROCESSING: Final[list[dict[str, Any]]] = [
    {"op": "resize", "width": 288, "height": 288, "fit": "cover"},
    {"op": "crop", "width": SIDE, "height": SIDE},
    {"op": "normalize", "mean": [127.0], "std": [128.0]},
    {"op": "layout", "order": "nchw"},
]

# What must be reached, of 20 photos.
MIN_RIGHT: Final = 17
MIN_AGREEING: Final = 18
MAX_SIZE_RATIO: Final = 0.30
SIZE_IS_STATED: Final = "torchscript"  # its int8 is told, not bounded
