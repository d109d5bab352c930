"""`python -m agent.training --socket PATH`: the device's training process, a child of the agent.

Loads programs once and keeps them while it lives, which is as long as a run. Waiting for samples needs no torch, so it
is imported with the first training. A program is opened only if its bytes have the digest that the agent was told by a
signed offer: opening one can run code.

Requests: {op: count, ...}, {op: train, ...}, {op: fine_tune, ...}. Answers: any number of {progress}, then
{ok: true, ...} or {ok: false, code, message}.
"""

import argparse
import hashlib
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.runtimes.frames import read_frame, serve_one, write_frame
from shoal.training.dataset import BadDataset, LocalSamples, fingerprint, read_dataset
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors, encode_tensors

if TYPE_CHECKING:
    from torch import nn

    from shoal.training.regularize import Labelled

_KEPT_PROGRAMS: Final = 4
_PROGRESS_INTERVAL_S: Final = 0.5

Progress = Callable[[float], None]


class TrainingError(Exception):
    """A request that cannot be done. `code` is stable and dotted."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Trainer:
    """The requests, one method each."""

    def __init__(self) -> None:
        self._programs: dict[str, nn.Module] = {}
        self._counted: tuple[Any, int] = (None, 0)  # of which state of a data set, and how many

    def answer(self, request: dict[str, Any], on_progress: Progress) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with it is part of the answer."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "count": self.count,
            "train": self.train,
            "fine_tune": self.fine_tune,
        }
        arguments = dict(request)
        try:
            return {"ok": True, **operations[arguments.pop("op")](on_progress=on_progress, **arguments)}
        except (TrainingError, BadDataset, WireError) as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except (KeyError, TypeError) as error:
            return {"ok": False, "code": "request.invalid", "message": f"Not a request of the trainer: {error}"}
        except OSError as error:
            return {"ok": False, "code": "artifact.unreadable", "message": str(error)}

    def count(self, *, dataset: str, since: str, on_progress: Progress) -> dict[str, Any]:
        """Count the samples that were taken at `since` or later; a data set that is not there yet has none."""
        del on_progress
        state = (dataset, since, fingerprint(Path(dataset)))
        if state != self._counted[0]:  # asked each second, while the samples may take days to come
            self._counted = (state, len(_new_samples(dataset, since)))
        return {"samples": self._counted[1]}

    def train(
        self,
        *,
        program: dict[str, str],
        weights: str,
        dataset: str,
        output: str,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        momentum: float,
        seed: int,
        on_progress: Progress,
    ) -> dict[str, Any]:
        """Train from given weights on all local samples, and write the new weights to `output`."""
        start = time.monotonic()
        samples = read_dataset(Path(dataset))
        if not len(samples):
            raise TrainingError("dataset.empty", f"The data set {Path(dataset).name} has no sample.")
        from shoal.training.loop import Sgd, train_epochs
        from shoal.training.programs import weights_of

        net = self._program(program)
        _set_weights(net, weights)
        sgd = Sgd(learning_rate=learning_rate, momentum=momentum, batch_size=batch_size, seed=seed)
        loss = _running(
            lambda: train_epochs(net, samples.x, samples.y, epochs=epochs, sgd=sgd, on_progress=on_progress)
        )
        return {
            **_write_update(output, weights_of(net)),
            "examples": len(samples),
            "loss": loss,
            "duration_s": time.monotonic() - start,
        }

    def fine_tune(
        self,
        *,
        train_program: dict[str, str],
        eval_program: dict[str, str],
        weights: str,
        replay: str,
        retention: str,
        dataset: str,
        since: str,
        new_samples: int,
        evaluation_samples: int,
        output: str,
        settings: dict[str, Any],
        on_progress: Progress,
    ) -> dict[str, Any]:
        """Learn the first `new_samples` new samples, of which the last `evaluation_samples` only measure."""
        start = time.monotonic()
        found = _new_samples(dataset, since)
        first = np.argsort(found.at, kind="stable")[:new_samples]
        learned, held_out = first[: len(first) - evaluation_samples], first[len(first) - evaluation_samples :]
        if not len(learned):
            raise TrainingError("dataset.empty", "There is no new sample to learn.")
        from shoal.training.loop import evaluate
        from shoal.training.programs import weights_of
        from shoal.training.regularize import FineTuning, Labelled, fine_tune

        new = Labelled(found.x[learned], found.y[learned])
        # With nothing held out there is only what was learned to measure on.
        judged = Labelled(found.x[held_out], found.y[held_out]) if len(held_out) else new
        kept = _labelled(retention)
        net, before = self._program(train_program), self._program(eval_program)
        _set_weights(net, weights)
        _set_weights(before, weights)  # in evaluation mode: what is measured, and the teacher

        def accuracies() -> tuple[float, float]:
            return evaluate(before, kept.x, kept.y).accuracy, evaluate(before, judged.x, judged.y).accuracy

        old_before, new_before = _running(accuracies)
        _running(lambda: fine_tune(net, before, new, _labelled(replay), FineTuning(**settings), on_progress))
        update = weights_of(net)
        written = _write_update(output, update)
        _set_weights(before, output)
        old_after, new_after = _running(accuracies)
        return {
            **written,
            "samples": len(first),
            "old_before": old_before,
            "old_after": old_after,
            "new_before": new_before,
            "new_after": new_after,
            "duration_s": time.monotonic() - start,
        }

    def _program(self, wanted: dict[str, str]) -> "nn.Module":
        """Give a program's net, opened at its first use."""
        sha256 = wanted["sha256"]
        if sha256 not in self._programs:
            import torch

            from shoal.training.programs import load_program

            torch.set_num_threads(1)  # the device serves beside; and one thread gives one result
            data = Path(wanted["path"]).read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise TrainingError(
                    "artifact.digest_mismatch", "The program's bytes are not those that the offer names."
                )
            while len(self._programs) >= _KEPT_PROGRAMS:
                del self._programs[next(iter(self._programs))]
            try:
                self._programs[sha256] = load_program(data)
            except Exception as error:  # whatever opening a program raises is the program's fault
                raise TrainingError("program.not_loadable", f"The program cannot be opened: {error}") from error
        return self._programs[sha256]


def _running(work: Callable[[], Any]) -> Any:
    """Run a program; what it raises is told by name."""
    try:
        return work()
    except (RuntimeError, ValueError, IndexError) as error:
        raise TrainingError("program.failed", f"The program does not run on this data: {str(error)[:500]}") from error


def _set_weights(net: "nn.Module", path: str) -> None:
    from shoal.training.programs import WeightsMismatch, read_weights, set_weights

    try:
        set_weights(net, read_weights(Path(path).read_bytes()))
    except WeightsMismatch as error:
        raise TrainingError("weights.mismatch", str(error)[:500]) from error


def _write_update(output: str, weights: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    data = encode_tensors(weights)
    Path(output).write_bytes(data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def _new_samples(dataset: str, since: str) -> LocalSamples:
    try:
        return read_dataset(Path(dataset), datetime.fromisoformat(since))
    except BadDataset as error:
        if error.code != "dataset.not_found":
            raise
    return LocalSamples(np.zeros((0, 1), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))


def _labelled(path: str) -> "Labelled":
    from shoal.training.regularize import Labelled

    tensors = decode_tensors(Path(path).read_bytes())
    return Labelled(tensors["x"], tensors["y"])


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    trainer = Trainer()
    while (request := read_frame(connection)) is not None:
        told_at = 0.0

        def on_progress(share: float) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= _PROGRESS_INTERVAL_S:
                told_at = time.monotonic()
                write_frame(connection, {"progress": share})

        write_frame(connection, trainer.answer(request, on_progress))


def main() -> int:
    """Serve one connection; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m agent.training")
    parser.add_argument("--socket", required=True)
    return serve_one(parser.parse_args().socket, serve)


if __name__ == "__main__":
    sys.exit(main())
