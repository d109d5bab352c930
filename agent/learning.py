"""The training process as the agent sees it: started when there is something to learn, warm while a run lasts.

What it works on is kept in a folder of its own, which holds only what open executions and the warm process need.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from agent.artifacts import ArtifactStore
from agent.door import Door, patiently
from agent.errors import AgentError
from agent.executions import NeverDone
from agent.forgetting import size_bytes
from agent.processes import Child
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import Offer

Spec = TypeVar("Spec", bound=msgspec.Struct)
WARM_S: Final = 60.0  # a round follows the other within seconds
_TRAINING_TIMEOUT_S: Final = 7 * 86_400.0  # the offer's own timeout is the shorter one
# What stays as it is however often it is tried.
_FOR_EVER: Final = frozenset({"dataset.not_found", "dataset.empty", "dataset.malformed", "dataset.too_large"})


class Learning:
    """The training process and its files."""

    def __init__(self, folder: Path, data: Path, door: Callable[[], Door]) -> None:
        self._folder = folder
        self._data = data
        self._door = door
        self._store = ArtifactStore(folder)
        self._child: Child | None = None
        self._asking = asyncio.Lock()  # who waits here is not concerned when the process ends in another's work
        self._used: dict[str, set[str]] = {}  # execution -> digests that it needs
        self._cooling: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def session(self, execution_id: str, *, stays_warm: bool = True) -> AsyncIterator[Path]:
        """Work on an execution; gives the file for its update, which is dropped afterwards.

        Args:
            stays_warm: Whether more of the same is expected soon.

        Raises:
            NeverDone: `training.not_available`.
        """
        if find_spec("torch") is None:
            raise NeverDone("training.not_available", "PyTorch is not installed on this device.")
        if self._cooling is not None:
            self._cooling.cancel()
        self._used[execution_id] = set()
        update = self._folder / f"{uuid.uuid4()}.update"
        try:
            yield update
        finally:
            update.unlink(missing_ok=True)
            needed = self._used.pop(execution_id)
            if not self._used:
                self._store.forget_unnamed(needed)
                self._cooling = asyncio.get_running_loop().create_task(self._cool(WARM_S if stays_warm else 0.0))

    async def fetch(self, execution_id: str, ref: ArtifactRef) -> str:
        """Give the path of an artifact, fetched for as long as the controller is only unreachable."""
        self._used[execution_id].add(ref.sha256)
        return str(await patiently(lambda: self._store.fetch(ref, self._door(), lambda _: None)))

    async def program(self, execution_id: str, ref: ArtifactRef) -> dict[str, str]:
        """Give a program as the training process wants it."""
        return {"path": await self.fetch(execution_id, ref), "sha256": ref.sha256}

    async def upload(self, update: Path, sha256: str) -> None:
        """Send an update, for as long as the controller is only unreachable."""
        await patiently(lambda: self._door().upload(update, sha256))

    def dataset(self, name: str) -> str:
        """Give the folder of a local data set.

        Raises:
            NeverDone: `dataset.not_found`, for a name that leaves the data folder.
        """
        folder = self._data / name
        if not name or folder.resolve().parent != self._data.resolve():
            raise NeverDone("dataset.not_found", f"{name[:64]!r} is no name of a local data set.")
        return str(folder)

    async def ask(
        self, op: str, on_progress: Callable[[float], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Ask the training process.

        Raises:
            NeverDone: The local data cannot be used.
            AgentError: What the process says, or `process.crashed`.
        """
        try:
            async with self._asking:
                child = await self._running()
                return await child.ask(op, timeout_s=_TRAINING_TIMEOUT_S, on_progress=on_progress, **arguments)
        except AgentError as error:
            if error.code in _FOR_EVER:
                raise NeverDone(error.code, str(error)) from error
            raise

    def forget(self) -> None:
        """Drop all files: nothing is open, and whatever a kill left is of no use."""
        self._store.forget_unnamed(())

    async def forget_all(self) -> int:
        """End the process and drop all files, while nothing is open; gives the bytes."""
        await self.close()
        size = size_bytes(self._folder)
        self.forget()
        return size

    async def close(self) -> None:
        """End the process; half-fetched files stay for the next start."""
        if self._cooling is not None:
            self._cooling.cancel()
        await self._end()

    async def _running(self) -> Child:
        if self._child is None or not self._child.is_running:
            self._child = Child("agent.training")
            await self._child.start()
        return self._child

    async def _cool(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._end()
        self.forget()

    async def _end(self) -> None:
        child = self._child
        if child is not None:
            await child.stop()
            if self._child is child:
                self._child = None


def read_spec(offer: Offer, kind: type[Spec]) -> Spec:
    """Give an offer's spec.

    Raises:
        NeverDone: `execution.malformed`.
    """
    try:
        return msgspec.json.decode(offer.spec, type=kind)
    except msgspec.DecodeError as error:
        raise NeverDone("execution.malformed", f"The offer does not parse: {error}") from error
