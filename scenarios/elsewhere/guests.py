"""The models, out of the packages that ship them, with what is asked of them."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from scenarios.packages import unpacked
from scenarios.photos.data import photos
from shoal.runtimes import load_runtime
from shoal.runtimes.preprocessing import prepare
from shoal.schemas.artifacts import ModelRequest
from shoal.schemas.signatures import Signature, TensorSpec
from shoal.wire.models import Datatype, PreprocessingStep, Resize, Scale, Task

Array = NDArray[Any]

_SAMPLES: Final = 16
_HEIGHT, _WIDTH = 144, 256


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A model that somebody else made.

    Attributes:
        title: What is special about it.
        recipes: With their runtimes.
        x, y: Samples of its first input, and what is expected.
        others: More inputs of other shapes that it takes.
    """

    model: ModelRequest
    title: str
    format: str
    file: Path
    recipes: dict[str, tuple[str, ...]]
    x: Array
    y: Array
    others: tuple[Array, ...] = ()


def segmentation() -> Guest:
    """A person's outline in photos of 256 x 144 pixels, TensorFlow Lite, from mediapipe."""
    name = "mediapipe/modules/selfie_segmentation/selfie_segmentation_landscape.tflite"
    file = unpacked("mediapipe==0.10.14", name) / name
    steps: list[PreprocessingStep] = [Resize(width=_WIDTH, height=_HEIGHT), Scale(factor=1 / 255)]
    x = np.concatenate([prepare(steps, _pixels(photo.data)) for photo in photos()[:_SAMPLES]])
    answers = load_runtime("litert").open(file).infer
    y = np.concatenate([next(iter(answers({"input_1": one[None]}).values())) for one in x])
    signature = Signature(
        inputs=[TensorSpec(name="input_1", datatype=Datatype.FP32, shape=[-1, _HEIGHT, _WIDTH, 3])],
        outputs=[TensorSpec(name="activation_10", datatype=Datatype.FP32, shape=[-1, _HEIGHT, _WIDTH, 1])],
    )
    preprocessing: list[dict[str, Any]] = [
        {"op": "resize", "width": _WIDTH, "height": _HEIGHT},
        {"op": "scale", "factor": 1 / 255},
    ]
    return Guest(
        model=ModelRequest(
            name="selfie-segmentation",
            task=Task.REGRESSION,
            signature=signature,
            preprocessing=preprocessing,
            licence="Apache-2.0",
        ),
        title="another input size",
        format="tflite",
        file=file,
        recipes={"as-is": ("litert",)},
        x=x,
        y=y,
    )


def orientation() -> Guest:
    """Whether a line of text stands on its head, ONNX with free height and width, from RapidOCR."""
    name = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
    lines = [_line(number) for number in range(_SAMPLES)]
    x = np.stack([line[:, ::-1, ::-1] if number % 2 else line for number, line in enumerate(lines)])
    return Guest(
        model=ModelRequest(name="text-orientation", class_labels=["0", "180"], licence="Apache-2.0"),
        title="dynamic shapes",
        format="onnx",
        file=unpacked("rapidocr_onnxruntime==1.4.4", name) / name,
        recipes={"fp32": ("onnxruntime", "openvino"), "int8": ("onnxruntime",)},
        x=np.ascontiguousarray(x),
        y=np.arange(_SAMPLES) % 2,
        others=(np.ascontiguousarray(x[:1, :, 8:40, :96]),),
    )


def wake_word() -> Guest:
    """A word that wakes a device, TensorFlow Lite with int8 in and uint8 out, from pymicro-wakeword.

    It hears noise here: what it makes of words is not the question, but what becomes of its numbers.
    """
    name = "pymicro_wakeword/models/alexa.tflite"
    x = np.random.default_rng(0).random((_SAMPLES, 3, 40), np.float32) * 26
    signature = Signature(
        inputs=[TensorSpec(name="audio", datatype=Datatype.FP32, shape=[-1, 3, 40])],
        outputs=[TensorSpec(name="probability", datatype=Datatype.FP32, shape=[-1, 1])],
    )
    return Guest(
        model=ModelRequest(name="wake-word", task=Task.ANOMALY, signature=signature, licence="Apache-2.0"),
        title="int8 input",
        format="tflite",
        file=unpacked("pymicro-wakeword==2.5.0", name) / name,
        recipes={"as-is": ("litert",)},
        x=x,
        y=np.arange(_SAMPLES) % 2,
    )


GUESTS: Final[dict[str, Callable[[], Guest]]] = {
    "segmentation": segmentation,
    "orientation": orientation,
    "wake-word": wake_word,
}


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def _line(number: int) -> NDArray[np.float32]:
    """Write six scanned digits beside each other: float32 [3, 48, 192], -1 (paper) to 1."""
    digits = load_digits().images[6 * number : 6 * number + 6] / 8 - 1
    row = np.concatenate(
        [np.pad(np.kron(one, np.ones((4, 4))), ((8, 8), (0, 0)), constant_values=-1) for one in digits], 1
    )
    return np.repeat(-row[None], 3, 0).astype(np.float32)
