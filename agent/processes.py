"""Child processes of the agent and how it talks to them: Unix sockets, four bytes of length, then msgpack. A frame with
`progress` may come any number of times before the answer.

A child that crashes or hangs is an error for the request in it, never the agent's end. A child dies with the agent.
"""

import asyncio
import ctypes
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.errors import AgentError

_LENGTH: Final = struct.Struct(">I")
_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_PR_SET_PDEATHSIG: Final = 1
_START_S: Final = 60.0


class Child:
    """A child process and its connection; requests are answered in order."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._lock = asyncio.Lock()

    @property
    def is_running(self) -> bool:
        """Whether the process lives and can be asked."""
        return self._reader is not None and self._lives

    async def start(self) -> None:
        """Start the process and connect.

        Raises:
            AgentError: `process.not_started`.
        """
        # A folder of its own under /tmp: the path of a Unix socket has at most 107 bytes.
        with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
            path = Path(folder) / "s"
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, "--socket", str(path), *self._arguments),
                preexec_fn=_die_with_parent,
            )
            try:
                async with asyncio.timeout(_START_S):
                    while self._reader is None:
                        if not self._lives:
                            raise AgentError("process.not_started", f"{self._module} ended at its start.")
                        try:
                            self._reader, self._writer = await asyncio.open_unix_connection(path)
                        except (FileNotFoundError, ConnectionRefusedError):
                            await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                self._kill()
                raise
            except TimeoutError as error:
                await self.stop()
                raise AgentError("process.not_started", f"{self._module} did not answer in time.") from error

    async def ask(
        self, op: str, *, timeout_s: float, on_progress: Callable[[float], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Send a request and give its answer; where this is canceled the child is ended, as it may be in mid-work.

        Args:
            on_progress: Told 0..1, for a child that says how far it is.

        Raises:
            AgentError: The child's own code, or `process.crashed`, `process.hung` (and the child is ended).
        """
        async with self._lock:
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._exchange({"op": op, **arguments}, on_progress)
            except asyncio.CancelledError:
                self._kill()
                raise
            except TimeoutError as error:
                await self.stop()
                raise AgentError("process.hung", f"{self._module} did not answer {op} in {timeout_s:.0f} s.") from error
            except (OSError, asyncio.IncompleteReadError, msgspec.DecodeError) as error:
                await self.stop()
                raise AgentError("process.crashed", f"{self._module} ended while it did {op}.") from error
        if not answer.get("ok"):
            raise AgentError(str(answer.get("code", "process.failed"))[:256], str(answer.get("message", ""))[:2000])
        return answer

    async def wait(self) -> int:
        """Wait for the process to end; gives its exit status."""
        return 0 if self._process is None else await self._process.wait()

    async def stop(self) -> None:
        """End the process: it goes when its connection closes, or is killed."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
        if self._process is None or not self._lives:
            return
        try:
            async with asyncio.timeout(3):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _kill(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
        if self._process is not None and self._lives:
            self._process.kill()

    @property
    def _lives(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _exchange(self, request: dict[str, Any], on_progress: Callable[[float], None] | None) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            raise ConnectionError("not connected")
        body = msgspec.msgpack.encode(request)
        self._writer.write(_LENGTH.pack(len(body)) + body)
        await self._writer.drain()
        while True:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _MAX_FRAME_BYTES:
                raise ConnectionError("the answer is too large")
            frame = msgspec.msgpack.decode(await self._reader.readexactly(length), type=dict[str, Any])
            if "progress" not in frame:
                return frame
            if on_progress is not None:
                on_progress(min(max(float(frame["progress"]), 0.0), 1.0))


def _die_with_parent() -> None:
    """Let the kernel end this child when the agent dies, kill -9 too. Runs in the child before exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
