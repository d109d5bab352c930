"""The sandboxes of a worker as its jobs use them: an opener for each program, a runner for each runtime.

All that is asked of them has a time limit, each failure a name, and each answer is checked: by then an uploaded program
may have taken the process over.
"""

from contextlib import AbstractContextManager
from typing import Annotated, Any, Final, TypeVar

import msgspec

from controller.jobs.sandbox import Sandbox
from controller.jobs.warm import Warm
from controller.jobs.work import JobFailed, Task
from shoal.runtimes.frames import MAX_FRAME_BYTES
from shoal.runtimes.process import ProcessError

OPEN_TIMEOUT_S: Final = 120.0  # torch, then the program
WORK_TIMEOUT_S: Final = 300.0
_FRAME_BYTES: Final = MAX_FRAME_BYTES - 64 * 1024  # beside the bytes a frame has names
_ENDS: Final = {"process.crashed": "crashed", "process.hung": "over_limit"}
_KEPT: Final[Warm[Sandbox]] = Warm()

Answer = TypeVar("Answer")
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Done(msgspec.Struct, frozen=True):
    """An answer that says nothing more."""


class Made(msgspec.Struct, frozen=True):
    """A file that was made."""

    model: bytes


class Measured(msgspec.Struct, frozen=True):
    """Weights on a data set."""

    accuracy: Ratio
    loss: float
    samples: int


class Outputs(msgspec.Struct, frozen=True):
    """A batch's outputs, as safetensors."""

    tensors: bytes


class Golden(msgspec.Struct, frozen=True):
    """What came of a golden set."""

    agreement: Ratio
    passed: bool


class Latency(msgspec.Struct, frozen=True):
    """Of single inferences."""

    latency_p50_ms: Annotated[float, msgspec.Meta(ge=0)]


def opener(task: Task, program: bytes, sha256: str) -> AbstractContextManager[Sandbox]:
    """Lend the sandbox in which a program is open.

    Raises:
        Forbidden: `program.not_isolated`.
        JobFailed: `program.not_loadable`, `program.crashed`, `program.over_limit`, `program.too_large`.
    """

    def start() -> Sandbox:
        check_size("program", program)
        sandbox = _start(task, "controller.compression.opener")
        try:
            ask(sandbox, "program", "open", Done, timeout_s=OPEN_TIMEOUT_S, program=program)
        except BaseException:
            sandbox.close()
            raise
        return sandbox

    return _KEPT.lend(f"opener {sha256}", start)


def runner(task: Task, runtime: str) -> AbstractContextManager[Sandbox]:
    """Lend a sandbox with a runtime's runner.

    Raises:
        Forbidden: `program.not_isolated`.
    """
    return _KEPT.lend(f"runner {runtime}", lambda: _start(task, "shoal.runtimes.runner"))


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


def _start(task: Task, module: str) -> Sandbox:
    try:
        return Sandbox.start(module, state=task.state, allow_unisolated=task.allow_unisolated)
    except ProcessError as error:
        raise JobFailed("sandbox.not_started", str(error)) from error
