"""The sandboxes of a worker as its jobs use them: an opener a program, a runner a runtime, a converter a conversion.

All that is asked of them has a time limit, each failure a name, and each answer is checked: by then an uploaded program
may have taken the process over.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from controller.jobs.sandbox import Limits, Sandbox
from controller.jobs.warm import Warm
from controller.jobs.work import JobFailed, JobRefused, Task
from shoal import toolchain
from shoal.runtimes.frames import MAX_FRAME_BYTES
from shoal.runtimes.process import ProcessError
from shoal.wire.runtimes import available_runtimes

OPEN_TIMEOUT_S: Final = 120.0  # torch, then the program
WORK_TIMEOUT_S: Final = 300.0
TRAIN_TIMEOUT_S: Final = 12 * 3600.0
CONVERT_TIMEOUT_S: Final = 600.0
_ORDINARY: Final = Limits()
_TRAINING: Final = Limits(cpu_s=24 * 3600, memory_bytes=12 * 2**30)
# Converters map gigabytes of libraries that they hardly touch, and write what they make twice.
_CONVERTING: Final = Limits(cpu_s=900, memory_bytes=24 * 2**30, scratch_bytes=2 * 2**30, processes=256)
_FRAME_BYTES: Final = MAX_FRAME_BYTES - 64 * 1024  # beside the bytes a frame has names
_ENDS: Final = {"process.crashed": "crashed", "process.hung": "over_limit"}
_OPENER: Final = "controller.compression.workers.opener"
_KEPT: Final[Warm[Sandbox]] = Warm()

Answer = TypeVar("Answer")
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Figure = Annotated[float, msgspec.Meta(ge=0)]


class Done(msgspec.Struct, frozen=True):
    """An answer that says nothing more."""


class Made(msgspec.Struct, frozen=True):
    """A file that was made, and what is worth knowing of it."""

    model: bytes
    figures: dict[str, Any] = {}


Count = Annotated[int, msgspec.Meta(ge=0)]


class Applied(msgspec.Struct, frozen=True):
    """What a step made of a network, and what an inference of that costs."""

    program: bytes
    weights: bytes
    figures: dict[str, Any]
    macs: Count
    parameters: Count


class Counted(msgspec.Struct, frozen=True):
    """What an inference of an ONNX file costs; None where the sizes of its tensors do not say."""

    macs: Count | None
    parameters: Count


class Layer(msgspec.Struct, frozen=True):
    """A layer, and what int8 does to the model if it alone has it."""

    layer: str
    kind: str
    drop: float | None
    noise: float
    weight_bytes: Count


class Sensitivity(msgspec.Struct, frozen=True):
    """The layers of a file, the most sensitive first."""

    layers: list[Layer]
    score: float | None
    evaluations: Count


class Converted(msgspec.Struct, frozen=True):
    """What a converter made."""

    model: bytes
    format: str
    notes: dict[str, Any]


class Measured(msgspec.Struct, frozen=True):
    """Weights on a data set."""

    accuracy: Ratio
    loss: float
    samples: int


class Outputs(msgspec.Struct, frozen=True):
    """Outputs, as safetensors."""

    tensors: bytes


class Golden(msgspec.Struct, frozen=True):
    """What came of a golden set."""

    agreement: Ratio
    passed: bool


class Profile(msgspec.Struct, frozen=True):
    """A loaded file, proven and measured."""

    golden: Golden
    runtime_version: Annotated[str, msgspec.Meta(max_length=100)]
    latency_p50_ms: Figure
    latency_p95_ms: Figure
    latency_p99_ms: Figure
    load_s: Figure
    peak_memory_bytes: Annotated[int, msgspec.Meta(ge=0)]


def opener(task: Task, program: bytes, sha256: str) -> AbstractContextManager[Sandbox]:
    """Lend the sandbox in which a program is open.

    Raises:
        Forbidden: `program.not_isolated`.
        JobFailed: `program.not_loadable`, `program.crashed`, `program.over_limit`, `program.too_large`.
    """

    def start() -> Sandbox:
        check_size("program", program)
        return _opened(task, _start(task, _OPENER), program)

    return _KEPT.lend(f"opener {sha256}", start)


def quantizer(task: Task) -> AbstractContextManager[Sandbox]:
    """Lend the sandbox in which ready-made ONNX files are compressed; no program is open there.

    Raises:
        Forbidden: `program.not_isolated`.
    """
    return _KEPT.lend("quantizer", lambda: _start(task, _OPENER))


@contextmanager
def trainer(task: Task, program: bytes) -> Iterator[Sandbox]:
    """Open a program in a sandbox of its own that may work for hours; it ends with the block.

    Raises:
        Forbidden: `program.not_isolated`.
        JobFailed: As `opener`.
    """
    check_size("program", program)
    sandbox = _opened(task, _start(task, _OPENER, limits=_TRAINING), program)
    try:
        yield sandbox
    finally:
        sandbox.close()


def runner(task: Task, runtime: str) -> AbstractContextManager[Sandbox]:
    """Lend a sandbox with a runtime's runner, under the toolchain's Python where the own one does not have it.

    Raises:
        Forbidden: `program.not_isolated`.
        JobRefused: `toolchain.missing`.
    """
    interpreter = None if runtime in available_runtimes() else toolchain_python()

    def start() -> Sandbox:
        if interpreter is None:
            return _start(task, "shoal.runtimes.runner")
        return _start(task, "shoal.runtimes.runner", limits=_CONVERTING, interpreter=interpreter)

    return _KEPT.lend(f"runner {runtime}", start)


@contextmanager
def converter(task: Task, *, in_toolchain: bool) -> Iterator[Sandbox]:
    """Start a converter; it ends with the block, as what a converter leaves behind is not known.

    Raises:
        Forbidden: `program.not_isolated`.
        JobRefused: `toolchain.missing`.
    """
    interpreter = toolchain_python() if in_toolchain else None
    sandbox = _start(task, "controller.compression.workers.converter", limits=_CONVERTING, interpreter=interpreter)
    try:
        yield sandbox
    finally:
        sandbox.close()


def toolchain_python() -> Path:
    """Give the toolchain's Python.

    Raises:
        JobRefused: `toolchain.missing`.
    """
    python = toolchain.python()
    if python is None:
        raise JobRefused("toolchain.missing", toolchain.missing())
    return python


def ask(
    sandbox: Sandbox, noun: str, op: str, kind: type[Answer], *, timeout_s: float = WORK_TIMEOUT_S, **arguments: Any
) -> Answer:
    """Ask a sandbox; what goes wrong fails the job.

    Args:
        noun: What an end of the process is blamed on: `program.crashed`, `variant.over_limit`.
        kind: What the answer has to be.

    Raises:
        JobFailed: The sandbox's own code, or `<noun>.crashed`, `<noun>.over_limit`, `<noun>.bad_answer`.
    """
    try:
        answer = sandbox.ask(op, timeout_s=timeout_s, **arguments)
    except ProcessError as error:
        code = f"{noun}.{_ENDS[error.code]}" if error.code in _ENDS else error.code
        raise JobFailed(code, str(error)) from error
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise JobFailed(f"{noun}.bad_answer", f"The answer to {op} is not what it has to be: {error}") from error


def check_size(noun: str, *data: bytes) -> None:
    """Refuse what does not fit a frame.

    Raises:
        JobFailed: `<noun>.too_large`.
    """
    if sum(map(len, data)) > _FRAME_BYTES:
        raise JobFailed(f"{noun}.too_large", f"What is opened here has at most {_FRAME_BYTES} bytes.")


def _opened(task: Task, sandbox: Sandbox, program: bytes) -> Sandbox:
    signature = task.spec["signature"]
    try:
        ask(sandbox, "program", "open", Done, timeout_s=OPEN_TIMEOUT_S, program=program, signature=signature)
    except BaseException:
        sandbox.close()
        raise
    return sandbox


def _start(task: Task, module: str, *, limits: Limits = _ORDINARY, interpreter: Path | None = None) -> Sandbox:
    try:
        return Sandbox.start(
            module,
            state=task.state,
            allow_unisolated=task.allow_unisolated,
            limits=limits,
            interpreter=interpreter,
        )
    except ProcessError as error:
        raise JobFailed("sandbox.not_started", str(error)) from error
