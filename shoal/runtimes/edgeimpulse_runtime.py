"""Edge Impulse's `.eim` files: an executable with a model in it, which answers on a Unix socket.

It is started as `MODEL.eim SOCKET`. A request is JSON; an answer is JSON that a zero byte ends, with the request's id.
Where the executable offers shared memory, the numbers go that way.

A model that takes pictures has the input `image` [height, width, channels], numbers 0..255, and any other `features`.
The outputs are `classification`, in the order of the labels, and `anomaly` where there is one; or of a detector `boxes`
(left, top, right, bottom), `scores` and `labels`, filled up with the label -1.

Source: Edge Impulse's Linux SDK for Python 1.2.2, `runner.py` and `image.py`.
"""

import json
import mmap
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from shoal.runtimes.companion import Companion
from shoal.runtimes.model import NO_OPTIONS, Array, BadModel, LoadedModel, check_options
from shoal.runtimes.signature import FileTensor, bind
from shoal.wire.models import Datatype, Signature

MOST_BOXES: Final = 64  # of a picture; what an executable finds beyond is cut off
_ELF: Final = b"\x7fELF"
_SCRIPT: Final = b"#!"
_START_S: Final = 30.0
_RUN_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_SHARED: Final = Path("/dev/shm")  # noqa: S108 (where Linux shows POSIX shared memory)
_SHARED_NAME: Final = re.compile(r"/?[A-Za-z0-9_.-]{1,200}")
_DETECTORS: Final = ("object_detection", "constrained_object_detection")
_MODEL_TYPES: Final = ("classification", *_DETECTORS)

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**24)]


class _Parameters(msgspec.Struct):
    """What an executable says of its model."""

    input_features_count: Annotated[int, msgspec.Meta(ge=1, le=2**24)]
    labels: Annotated[list[str], msgspec.Meta(max_length=10_000)] = []
    model_type: str = "classification"
    has_anomaly: int | bool = 0
    image_input_width: _Count = 0
    image_input_height: _Count = 0
    image_channel_count: _Count = 0
    image_input_frames: _Count = 1


class _SharedMemory(msgspec.Struct):
    """Where features may be put."""

    name: str
    type: str
    elements: _Count


class _Hello(msgspec.Struct):
    model_parameters: _Parameters
    features_shm: _SharedMemory | None = None


class _Box(msgspec.Struct):
    label: str
    value: float
    x: float
    y: float
    width: float
    height: float


class _Result(msgspec.Struct):
    classification: dict[str, float] = {}
    anomaly: float | None = None
    visual_anomaly_max: float | None = None
    bounding_boxes: list[_Box] = []


class _Answer(msgspec.Struct):
    result: _Result


class EimFile:
    """A running executable, which is started again after it ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._companion: Companion | None = None
        self._shared: mmap.mmap | None = None
        self._id = 0
        self._about = self._start()
        if self._about.model_type not in _MODEL_TYPES:
            self.close()
            raise BadModel("model.not_supported", f"There is no back end for models that are {self._about.model_type}.")
        self.inputs = [self._input()]
        self.outputs = self._described()

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run one sample."""
        if self._companion is None:
            self._start()
        features = self._features(arrays[0])
        if self._shared is not None:
            self._shared[: features.nbytes] = features.tobytes()
            request: dict[str, Any] = {"classify_shm": {"elements": features.size}}
        else:
            request = {"classify": features.tolist()}
        result = self._ask(request, _RUN_S, _Answer).result
        return self._boxes(result) if self._is_detector else self._scores(result)

    def close(self) -> None:
        """Give the memory back."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        if self._companion is not None:
            self._companion.close(signal.SIGINT)
            self._companion = None

    @property
    def _is_detector(self) -> bool:
        return self._about.model_type in _DETECTORS

    @property
    def _is_of_images(self) -> bool:
        about = self._about
        size = about.image_input_width * about.image_input_height
        return size > 0 and size == about.input_features_count and about.image_channel_count in (1, 3)

    def _input(self) -> FileTensor:
        about = self._about
        if self._is_of_images:
            shape = (1, about.image_input_height, about.image_input_width, about.image_channel_count)
            return FileTensor(name="image", datatype=Datatype.FP32, shape=shape)
        return FileTensor(name="features", datatype=Datatype.FP32, shape=(1, about.input_features_count))

    def _described(self) -> list[FileTensor]:
        if self._is_detector:
            shapes: dict[str, tuple[int, ...]] = {"boxes": (1, MOST_BOXES, 4), "scores": (1, MOST_BOXES)}
            tensors = [FileTensor(name=name, datatype=Datatype.FP32, shape=shape) for name, shape in shapes.items()]
            return [*tensors, FileTensor(name="labels", datatype=Datatype.INT64, shape=(1, MOST_BOXES))]
        widths = {"classification": len(self._about.labels), "anomaly": int(bool(self._about.has_anomaly))}
        return [
            FileTensor(name=name, datatype=Datatype.FP32, shape=(1, width)) for name, width in widths.items() if width
        ]

    def _features(self, array: Array) -> Array:
        if not self._is_of_images:
            return array.reshape(-1)
        # One number a pixel, 0xRRGGBB, grey ones with three equal parts; each is exact in float32.
        pixels = np.clip(np.rint(array[0]), 0, 255).astype(np.uint32)
        red, green, blue = (pixels[..., channel % pixels.shape[-1]] for channel in range(3))
        packed: Array = (red << 16 | green << 8 | blue).reshape(-1).astype(np.float32)
        return packed

    def _scores(self, result: _Result) -> list[Array]:
        try:
            found: dict[str, list[float]] = {
                "classification": [result.classification[one] for one in self._about.labels]
            }
        except KeyError as error:
            raise BadModel("model.bad_outputs", f"The executable gave no figure for the label {error}.") from error
        if self._about.has_anomaly:
            anomaly = result.visual_anomaly_max if result.anomaly is None else result.anomaly
            if anomaly is None:
                raise BadModel("model.bad_outputs", "The executable gave no figure of the anomaly.")
            found["anomaly"] = [anomaly]
        return [np.array([found[str(tensor.name)]], np.float32) for tensor in self.outputs]

    def _boxes(self, result: _Result) -> list[Array]:
        boxes = np.zeros((1, MOST_BOXES, 4), np.float32)
        scores = np.zeros((1, MOST_BOXES), np.float32)
        labels = np.full((1, MOST_BOXES), -1, np.int64)
        numbers = {label: number for number, label in enumerate(self._about.labels)}
        for place, box in enumerate(result.bounding_boxes[:MOST_BOXES]):
            boxes[0, place] = box.x, box.y, box.x + box.width, box.y + box.height
            scores[0, place] = box.value
            labels[0, place] = numbers.get(box.label, -1)
        return [boxes, scores, labels]

    def _start(self) -> _Parameters:
        # In a folder of its own, as no store keeps executable files; an executable that runs needs neither any more.
        with tempfile.TemporaryDirectory(prefix="shoal-eim-") as folder:
            program, path = Path(folder) / "model.eim", Path(folder) / "s"
            shutil.copyfile(self._path, program)
            program.chmod(0o700)
            try:
                self._companion = Companion.with_path(
                    [str(program), str(path)], str(path), name="The executable", timeout_s=_START_S
                )
                hello: _Hello = self._ask({"hello": 1}, _START_S, _Hello)
            except OSError as error:
                raise BadModel("model.not_loadable", f"The file does not run on this machine: {error}") from error
            except BadModel as error:
                self.close()
                raise BadModel("model.not_loadable", f"It does not answer as an .eim file: {error}") from error
        self._shared = _opened(hello.features_shm, hello.model_parameters.input_features_count)
        return hello.model_parameters

    def _ask(self, request: dict[str, Any], timeout_s: float, kind: type[Any]) -> Any:
        assert self._companion is not None
        self._id += 1
        try:
            self._companion.begin(next(iter(request)), timeout_s)
            self._companion.send(json.dumps({**request, "id": self._id}).encode())
            answer = self._answer(self._companion)
        except BadModel:
            self._companion = None
            raise
        if not answer.get("success"):
            raise BadModel("model.failed", f"The executable refused it: {str(answer.get('error'))[:500]}")
        try:
            return msgspec.convert(answer, kind, strict=False)
        except msgspec.ValidationError as error:
            raise BadModel("model.bad_outputs", f"The executable's answer is not as it should be: {error}") from error

    def _answer(self, companion: Companion) -> dict[str, Any]:
        """Give the answer to this request; what else comes before it, as of a request that was given up, is passed."""
        data = bytearray()
        while True:
            data += companion.receive(64 * 1024)
            while (end := data.find(0)) >= 0:
                try:
                    answer = json.loads(bytes(data[:end]))
                except ValueError as error:
                    raise companion.broken() from error
                del data[: end + 1]
                if isinstance(answer, dict) and answer.get("id") == self._id:
                    return answer
            if len(data) > _MAX_ANSWER_BYTES:
                raise companion.broken()


class EdgeImpulse:
    """Opens `.eim` files."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file; its executable has its own mind about threads."""
        check_options(options, [])
        with path.open("rb") as file:
            start = file.read(len(_ELF))
        if start != _ELF and not start.startswith(_SCRIPT):
            raise BadModel("model.not_loadable", "An .eim file is an executable.")
        return bind(EimFile(path), signature)


RUNTIME: Final = EdgeImpulse()


def _opened(offered: _SharedMemory | None, features: int) -> mmap.mmap | None:
    """Map the memory that was offered; None where there is none that will do: the numbers then go as JSON."""
    if offered is None or offered.type != "float32" or offered.elements < features:
        return None
    if not _SHARED_NAME.fullmatch(offered.name):
        return None
    try:
        file = os.open(_SHARED / offered.name.lstrip("/"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return mmap.mmap(file, offered.elements * 4)
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)
