"""A short child process that measures what this machine does, JSON on stdout.

`python -m agent.hardware.benchmark FOLDER`. One core, lowest priority, under ten seconds in all. Each
figure is the best of several runs after a warm-up, as other work only ever makes a run slower. What the installed
libraries cannot measure honestly is absent.
"""

import argparse
import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
import psutil

from shoal.wire.devices import Measured

_ONE_THREAD: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
_PR_SET_PDEATHSIG: Final = 1
_SIZE: Final = 512  # of square matrices: 3 MB in fp32, so that arithmetic outweighs memory on the smallest board
_EACH_S: Final = 0.7
_LEAST_RUNS: Final = 3
_COPY_BYTES: Final = 64 * 2**20  # beyond the caches of all but servers
_LEAST_COPY_BYTES: Final = 8 * 2**20
_WRITE_BYTES: Final = 32 * 2**20
_PIECE_BYTES: Final = 2**20
_SPARE_BYTES: Final = 128 * 2**20  # left free on the disk


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m agent.hardware.benchmark", description=__doc__)
    parser.add_argument("folder", type=Path, help="on whose file system writing is measured")
    folder = parser.parse_args(arguments).folder
    step_back()
    with (folder / "benchmark.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would measure each other
        sys.stdout.write(msgspec.json.encode(measure(folder)).decode() + "\n")
    return 0


def step_back() -> None:
    """Let all other work go first, use one thread, and end with the parent."""
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        os.nice(19)


def measure(folder: Path) -> Measured:
    """Measure all that can be."""
    return Measured(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        fp32_macs_per_s=fp32_macs_per_s(),
        int8_macs_per_s=int8_macs_per_s(),
        memory_bytes_per_s=memory_bytes_per_s(),
        storage_bytes_per_s=storage_bytes_per_s(folder),
    )


def fp32_macs_per_s() -> float | None:
    """Multiply float32 matrices with numpy's BLAS; absent without numpy."""
    if find_spec("numpy") is None:
        return None
    import numpy as np

    random = np.random.default_rng(0)
    left, right = (random.random((_SIZE, _SIZE), np.float32) for _ in range(2))
    product = np.empty_like(left)
    rate: float = _SIZE**3 / _best_s(lambda: np.matmul(left, right, out=product))
    return rate


def int8_macs_per_s() -> float | None:
    """Multiply uint8 and int8 matrices with ONNX Runtime's `MatMulInteger`; absent without it.

    It is the kernel behind the quantized models that the controller makes; numpy has none for integers.
    """
    if find_spec("numpy") is None or find_spec("onnxruntime") is None:
        return None
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(matmul_integer_model(_SIZE), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feeds = {
        "a": random.integers(0, 255, (_SIZE, _SIZE), np.uint8),
        "b": random.integers(-127, 127, (_SIZE, _SIZE), np.int8),
    }
    rate: float = _SIZE**3 / _best_s(lambda: session.run(None, feeds))
    return rate


def memory_bytes_per_s() -> float | None:
    """Copy a buffer that no cache holds; absent where memory is too short for two of them."""
    size: int = min(_COPY_BYTES, psutil.virtual_memory().available // 8)
    if size < _LEAST_COPY_BYTES:
        return None
    source, target = bytearray(os.urandom(_PIECE_BYTES)) * (size // _PIECE_BYTES), bytearray(size)
    source += bytes(size - len(source))
    view = memoryview(source)

    def copy() -> None:
        memoryview(target)[:] = view

    return size / _best_s(copy)


def storage_bytes_per_s(folder: Path) -> float | None:
    """Write a file, sync it, and drop it: once, as flash wears; absent where the disk is nearly full."""
    path = folder / "benchmark.tmp"
    try:
        if psutil.disk_usage(str(folder)).free < _WRITE_BYTES + _SPARE_BYTES:
            return None
        pieces = [os.urandom(_PIECE_BYTES) for _ in range(_WRITE_BYTES // _PIECE_BYTES)]  # nothing to be compressed
        began = time.perf_counter()
        with path.open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
            os.fsync(file.fileno())
        return _WRITE_BYTES / (time.perf_counter() - began)
    except OSError:
        return None
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def matmul_integer_model(size: int) -> bytes:
    """Write an ONNX model of one `MatMulInteger`, y = a @ b, without the package `onnx`, which devices lack.

    Field numbers are those of onnx.proto3 (onnx/onnx, IR version 8, opset 13).
    """

    def varint(value: int) -> bytes:
        low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
        return low + (varint(value >> 7) if value > 0x7F else b"")

    def whole(field: int, value: int) -> bytes:
        return varint(field << 3) + varint(value)

    def part(field: int, body: bytes) -> bytes:
        return varint(field << 3 | 2) + varint(len(body)) + body

    def tensor(name: bytes, element: int) -> bytes:
        shape = part(1, whole(1, size)) * 2
        return part(1, name) + part(2, part(1, whole(1, element) + part(2, shape)))

    node = part(1, b"a") + part(1, b"b") + part(2, b"y") + part(4, b"MatMulInteger")
    uint8, int8, int32 = 2, 3, 6
    graph = part(1, node) + part(2, b"benchmark")
    graph += part(11, tensor(b"a", uint8)) + part(11, tensor(b"b", int8)) + part(12, tensor(b"y", int32))
    return whole(1, 8) + part(7, graph) + part(8, whole(2, 13))


def _best_s(work: Callable[[], object]) -> float:
    """Give the shortest run's time, after one that warms up."""
    work()
    best = float("inf")
    runs = 0
    began = time.perf_counter()
    while runs < _LEAST_RUNS or time.perf_counter() - began < _EACH_S:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best


if __name__ == "__main__":
    sys.exit(main())
