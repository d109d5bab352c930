"""What a runtime costs more through `shoal.runtimes` than called directly: both in one process, by turns, one thread.

`python -m benchmarks.runtimes [--quick]`. Two networks in float32: `large`, 0.2 ms and more on each runtime, where the
ratio is bounded; `small`, where the added microseconds are told. ExecuTorch's run under the toolchain's Python; its and
LiteRT's files are made there. Arm NN and Edge Impulse are processes beside ours, called in no other way: not here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor, nn

from benchmarks._rig import Case
from shoal import toolchain
from shoal.training.programs import export_programs
from shoal.wire.models import Datatype, Signature, TensorSpec
from shoal.wire.runtimes import available_runtimes

RUNTIMES: Final = ("onnxruntime", "openvino", "litert", "torchscript", "executorch")
MADE_IN_TOOLCHAIN: Final = frozenset({"litert", "executorch"})
AIM_RATIO: Final = 1 / 1.05  # of the peer's time to ours
AIM_ADDED_US: Final = 50.0
BOUNDED_MS: Final = 0.2
ROOT: Final = Path(__file__).resolve().parent.parent
_RUNS: Final = 2000
_QUICK_RUNS: Final = 200


class Net(nn.Module):
    """Convolutions over images of `side` x `side`, as many channels as are told, and a linear map."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.side = side
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(side // 2),
        )
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give [n, 10] of [n, 3, side, side]."""
        logits: Tensor = self.head(self.features(x).flatten(1))
        return logits


NETS: Final = {"small": (8, 8), "large": (64, 64)}


def main() -> int:
    """Measure; gives 0 if all is inside its bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs, and only what needs no toolchain")
    options = parser.parse_args()
    runtimes = [one for one in RUNTIMES if not (options.quick and one in MADE_IN_TOOLCHAIN)]
    cases = []
    with tempfile.TemporaryDirectory(prefix="shoal-runtimes-") as folder:
        for model in NETS:
            _write(Path(folder), model)
            for runtime in runtimes:
                _ask(_python(runtime in MADE_IN_TOOLCHAIN), "convert", runtime, folder, model)
                there = runtime not in available_runtimes()
                runs = _QUICK_RUNS if options.quick else _RUNS
                case = _case(runtime, model, _ask(_python(there), "time", runtime, folder, model, str(runs)))
                case.tell()
                cases.append(case)
    return 0 if all(case.met for case in cases) else 1


def _write(folder: Path, model: str) -> None:
    torch.manual_seed(0)
    side, channels = NETS[model]
    files = export_programs(Net(side, channels), torch.zeros(2, 3, side, side))
    signature = Signature(
        [TensorSpec("input", Datatype.FP32, [-1, 3, side, side])], [TensorSpec("output", Datatype.FP32, [-1, 10])]
    )
    (folder / f"{model}.pt2").write_bytes(files.eval_program)
    (folder / f"{model}.safetensors").write_bytes(files.weights)
    (folder / f"{model}.json").write_bytes(msgspec.json.encode(signature))


def _python(is_in_toolchain: bool) -> Path:
    if not is_in_toolchain:
        return Path(sys.executable)
    python = toolchain.python()
    if python is None:
        raise SystemExit(toolchain.missing())
    return python


def _ask(python: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-m", "benchmarks._direct", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _case(runtime: str, model: str, told: dict[str, Any]) -> Case:
    ours, peer = told["ours_ms"], told["peer_ms"]
    if peer >= BOUNDED_MS:
        return Case(
            benchmark="runtimes",
            case=f"{runtime}, {model} model",
            metric="latency p50",
            unit="ms",
            ours=round(ours, 4),
            peer=round(peer, 4),
            peer_name=f"{runtime} called directly",
            ratio=round(peer / ours, 3),
            aim=round(AIM_RATIO, 3),
            met=peer / ours >= AIM_RATIO,
        )
    added_us = 1000 * (ours - peer)
    return Case(
        benchmark="runtimes",
        case=f"{runtime}, {model} model of {peer:.4f} ms",
        metric="added latency p50",
        unit="us",
        ours=round(added_us, 1),
        aim=AIM_ADDED_US,
        met=added_us <= AIM_ADDED_US,
    )


if __name__ == "__main__":
    sys.exit(main())
