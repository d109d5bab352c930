"""Processes in which code that an upload brings may run: isolated, or not started.

`torch.export.load` runs code of the file it loads, so a program is opened here and nowhere else. What the isolation is
made of stands in `confine`.
"""

import fcntl
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import controller
import shoal
from controller.errors import Forbidden
from controller.jobs.confine import Options
from shoal.runtimes.process import ChildProcess, start

_log: Final = logging.getLogger(__name__)
_START_S: Final = 60.0
_PREFIX: Final = "shoal-sandbox-"
# Another Python has no Shoal: it gets these two packages, and nothing else of what is installed where they lie.
_BRIDGE: Final = """
import importlib.util, json, runpy, sys
for name, folder in json.loads(sys.argv.pop(1)).items():
    spec = importlib.util.spec_from_file_location(name, folder + "/__init__.py", submodule_search_locations=[folder])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
runpy.run_module("controller.jobs.confine", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a sandbox may use in its life: processor time, memory a process, bytes in its /tmp, processes."""

    cpu_s: int = 900
    memory_bytes: int = 6 * 2**30
    scratch_bytes: int = 512 * 2**20
    processes: int = 64


class Sandbox:
    """A child process in a sandbox. Thread-safe."""

    def __init__(self, child: ChildProcess, folder: "_Folder", missing: dict[str, str]) -> None:
        self._child = child
        self._folder = folder
        self.missing = missing

    @classmethod
    def start(
        cls,
        module: str,
        *,
        state: Path,
        allow_unisolated: bool,
        limits: Limits = Limits(),
        interpreter: Path | None = None,
    ) -> Self:
        """Start one that serves a module's requests.

        Args:
            module: With a `serve(connection)`; of Shoal's own code.
            state: The controller's state, which must not be readable inside.
            allow_unisolated: Go on with what isolation there is.
            interpreter: Another Python than this one, with all that is installed for it: the toolchain's. It needs what
                Shoal's code imports there, not Shoal.

        Raises:
            Forbidden: `program.not_isolated`, naming what is missing.
            ProcessError: `process.crashed`, `process.hung`.
        """
        folder = _Folder()
        options = Options(module=module, folder=str(folder.path), hidden=[str(state)], **asdict(limits))
        ours, theirs = socket.socketpair()
        with theirs:
            command = [*_python(interpreter), str(theirs.fileno()), json.dumps(asdict(options))]
            process = start(command, pass_fd=theirs.fileno(), folder=str(folder.path), is_quiet=True)
        child = ChildProcess(process, ours, "the sandbox")
        try:
            missing: dict[str, str] = child.ask("isolation", timeout_s=_START_S)["missing"]
        except BaseException:
            _close(child, folder)
            raise
        if missing:
            lacking = "; ".join(f"{what} ({why})" for what, why in sorted(missing.items()))
            if not allow_unisolated:
                _close(child, folder)
                message = (
                    f"This machine cannot isolate a program that an upload brought; missing: {lacking}. "
                    "SHOAL_ALLOW_UNISOLATED=1 opens it all the same."
                )
                raise Forbidden("program.not_isolated", message, missing=sorted(missing))
            folder.path.chmod(0o711)  # without a new root the other user finds its inbox here
            _log.warning("a program is opened without full isolation; missing: %s", lacking)
        return cls(child, folder, missing)

    @property
    def is_running(self) -> bool:
        """Whether it lives and can be asked."""
        return self._child.is_running

    def put(self, name: str, chunks: Iterable[bytes]) -> str:
        """Show a file inside, read-only there; gives its path. The same name again replaces it."""
        path = self._folder.path / "inbox" / name
        draft = path.with_suffix(".part")
        with draft.open("wb") as file:
            file.writelines(chunks)
        draft.chmod(0o644)
        draft.rename(path)
        return str(path)

    def ask(self, op: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Send a request and give its answer.

        Raises:
            ProcessError: The module's own code; or `process.crashed`, `process.hung`, and the sandbox is ended.
        """
        return self._child.ask(op, timeout_s=timeout_s, **arguments)

    def close(self) -> None:
        """End it and all that runs in it."""
        _close(self._child, self._folder)


def _python(interpreter: Path | None) -> list[str]:
    """Give the command that enters the sandbox; two arguments follow."""
    if interpreter is None:
        return [sys.executable, "-m", "controller.jobs.confine"]
    packages = {package.__name__: str(Path(package.__file__ or "").parent) for package in (controller, shoal)}
    return [str(interpreter), "-I", "-c", _BRIDGE, json.dumps(packages)]


class _Folder:
    """A sandbox's folder, locked while its owner lives, so that what a crash left is told from what is in use."""

    def __init__(self) -> None:
        _clear_away()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        for name in ("root", "inbox"):
            (self.path / name).mkdir()
            (self.path / name).chmod(0o755)

    def remove(self) -> None:
        """Remove it, once."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _clear_away() -> None:
    """Remove the folders of sandboxes whose owner was killed with all that could have done so."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime < _START_S:
                continue  # one that begins may not be locked yet
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue  # it went meanwhile, or is another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _close(child: ChildProcess, folder: _Folder) -> None:
    child.close()
    folder.remove()
