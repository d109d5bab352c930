"""Shoal's int8 against ONNX Runtime's own quantizer and against NNCF, both with their default settings; and a search
for recipes against trying them all. Same model, same data, same samples to calibrate with, in one run, on one thread.

`python -m benchmarks.compression [--quick]`. Models: a convolutional net on scikit-learn's digits, measured on 397 that
it was not trained on, and EfficientNet-Lite0 with ImageNet weights on 20 labelled photos, calibrated with the photos
mirrored. NNCF makes OpenVINO's own files and runs in the toolchain, so beside it Shoal's file runs on OpenVINO too;
latencies are medians of single inferences that take turns. The search's cost is processor seconds, of training,
converting and measuring. `--quick` has the digits net alone, and no search.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image

from benchmarks import _grid
from benchmarks._rig import Case
from controller.compression.export.onnx import export_onnx
from controller.compression.networks.samples import Samples
from controller.compression.techniques.quantize import quantize
from scenarios.photos import plan as photo_plan
from scenarios.photos.data import Photo, mirrored, network, photos
from scenarios.watch import plan as watch_plan
from scenarios.watch.data import Split, load
from scenarios.watch.model import trained
from shoal import toolchain
from shoal.runtimes.preprocessing import prepare
from shoal.schemas.recipes import Quantize
from shoal.training.programs import ProgramFiles, export_programs
from shoal.wire.models import Preprocessing

Array = NDArray[Any]
Run = Callable[[Array], Array]

AIM_VOLUME: Final = 0.95
AIM_COST: Final = 0.30
NOISE: Final = 0.98  # of a latency's ratio: medians of one machine differ by a percent or two from run to run
_RUNS: Final = 200
_QUICK_RUNS: Final = 500  # of a far smaller net
_WARM: Final = 10


@dataclass(frozen=True)
class Subject:
    """A model with its data."""

    name: str
    model: bytes
    calibration: Array
    x: Array
    y: Array


def main() -> int:
    """Measure; gives 0 if every aim is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the digits net only, and no search")
    options = parser.parse_args()
    torch.set_num_threads(1)
    split = load("digits")
    _, files = trained("digits", split.train, lambda _: None)
    cases = list(_compared(_digits(files, split), _QUICK_RUNS))
    if not options.quick:
        cases += _compared(_efficientnet(), _RUNS)
        cases += _searched(files, split)
    return 0 if all(case.met for case in cases) else 1


def _digits(files: ProgramFiles, split: Split) -> Subject:
    model = export_onnx(torch.export.load(io.BytesIO(files.eval_program)))
    calibration = split.train.x[: watch_plan.CALIBRATION_SAMPLES]
    return Subject("digits", model, calibration, split.test.x, split.test.y)


def _efficientnet() -> Subject:
    files = export_programs(network(), torch.zeros(2, 3, photo_plan.SIDE, photo_plan.SIDE))
    found = photos()
    return Subject(
        "efficientnet-lite0",
        export_onnx(torch.export.load(io.BytesIO(files.eval_program))),
        _prepared([mirrored(photo) for photo in found]),
        _prepared(found),
        np.array([photo.label for photo in found]),
    )


def _prepared(found: list[Photo]) -> Array:
    steps = msgspec.convert(photo_plan.PREPROCESSING, Preprocessing)
    made = []
    for photo in found:
        with Image.open(io.BytesIO(photo.data)) as image:
            made.append(prepare(steps, np.asarray(image.convert("RGB"), np.uint8)))
    return np.concatenate(made)


def _compared(subject: Subject, runs: int) -> Iterator[Case]:
    samples = Samples({"input": subject.calibration}, {}, ("output",))
    ours = quantize(subject.model, Quantize(), samples).model
    with tempfile.TemporaryDirectory(prefix="shoal-compression-") as folder:
        source = Path(folder) / "model.onnx"
        source.write_bytes(subject.model)
        peer = _by_onnxruntime(source, subject.calibration)
        yield from _cases(
            subject, "ONNX Runtime's quantizer", (ours, peer), (_onnxruntime(ours), _onnxruntime(peer)), runs
        )
        packed, peer_file = _by_nncf(source, subject.calibration)
        yield from _cases(subject, "NNCF", (ours, packed), (_openvino(ours), _openvino(peer_file)), runs)


def _cases(
    subject: Subject, peer: str, files: tuple[bytes, bytes], sides: tuple[Run, Run], runs: int
) -> Iterator[Case]:
    right = [
        sum(int(side(subject.x[place : place + 1]).argmax() == label) for place, label in enumerate(subject.y))
        for side in sides
    ]
    latencies = _by_turns(sides, subject.x[:1], runs)
    sizes = [len(file) for file in files]
    figures: tuple[tuple[str, str, list[float], float, float], ...] = (
        ("accuracy", "share", [count / len(subject.y) for count in right], right[0] / right[1], 1.0),
        ("size", "bytes", [float(size) for size in sizes], sizes[1] / sizes[0], 1.0),
        ("latency p50", "ms", latencies, latencies[1] / latencies[0], NOISE),
    )
    for metric, unit, (own, others), ratio, aim in figures:
        case = Case(
            benchmark="compression",
            case=f"int8, {subject.name}",
            metric=metric,
            unit=unit,
            ours=round(own, 4),
            peer=round(others, 4),
            peer_name=peer,
            ratio=round(ratio, 4),
            aim=aim,
            met=ratio >= aim,
        )
        case.tell()
        yield case


def _searched(files: ProgramFiles, split: Split) -> Iterator[Case]:
    found = _grid.compare(files, split, watch_plan.CALIBRATION_SAMPLES)
    what = f"search, digits: {found.trials} trials of {found.of_trials}, a grid of {found.grid_s:.0f} s"
    what += f"; {found.unbounded_ratio:.3f} of the hypervolume where accuracies above the version's own count"
    for metric, value, aim, is_met in (
        ("hypervolume", found.volume_ratio, AIM_VOLUME, found.volume_ratio >= AIM_VOLUME),
        ("cost", found.cost_ratio, AIM_COST, found.cost_ratio <= AIM_COST),
    ):
        case = Case(
            benchmark="compression",
            case=what,
            metric=metric,
            unit="share of the full grid's",
            ours=round(value, 4),
            aim=aim,
            met=is_met,
        )
        case.tell()
        yield case


def _by_turns(sides: tuple[Run, Run], x: Array, runs: int) -> list[float]:
    times: tuple[list[int], list[int]] = ([], [])
    for run in range(runs + _WARM):
        for side in (0, 1) if run % 2 else (1, 0):
            began = time.perf_counter_ns()
            sides[side](x)
            lasted = time.perf_counter_ns() - began
            if run >= _WARM:
                times[side].append(lasted)
    return [float(np.median(one)) / 1e6 for one in times]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Array) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self._samples, None)
        return None if sample is None else {"input": sample[None]}


def _by_onnxruntime(source: Path, samples: Array) -> bytes:
    target = source.with_name("peer.onnx")
    quantize_static(source, target, _Reader(samples))
    return target.read_bytes()


def _by_nncf(source: Path, samples: Array) -> tuple[bytes, Path]:
    """Give the peer's two files packed into one, and the path of the graph."""
    python = toolchain.python()
    if python is None:
        raise SystemExit(toolchain.missing())
    target, kept = source.with_name("peer.xml"), source.with_name("samples.npy")
    np.save(kept, samples)
    script = Path(__file__).with_name("_nncf.py")
    done = subprocess.run([python, script, source, kept, target], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"NNCF: {done.stderr[-2000:]}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path in (target, target.with_suffix(".bin")):
            archive.write(path, path.name)
    return packed.getvalue(), target


def _onnxruntime(model: bytes) -> Run:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0]


def _openvino(model: bytes | Path) -> Run:
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return lambda x: request.infer({0: x}, share_inputs=True)[0]


if __name__ == "__main__":
    sys.exit(main())
