"""The networks that a search may train still, with what each would cost, and those that were trained. Pure."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from controller.compression.choosing.expecting import Scaled, Seen, figures, share
from controller.compression.choosing.planning import Tried, group_of
from controller.compression.choosing.recipe import Pipeline, Step, digest, program_steps, trial_key
from controller.jobs.states import TrialState

_FIXED: Final = 0.5  # of the work of an epoch is as much for a small network as for a large one
_TRIALS: Final = 4.0  # exporting and measuring a network takes about so many epochs
_FEWEST_SAMPLES: Final = 32  # where a trial does not say how many there were
_COSTS: Final = ("size_bytes", "latency_p50_ms")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that was not trained yet.

    Attributes:
        steps: What would change the version's.
        pipelines: Whose files are made of it.
        expected: Of each trial runtime, `size_bytes` and `latency_p50_ms`.
        chance: That it can be made, 0..1: by how often what begins the same way could be.
        work: In epochs of the version's own network.
    """

    steps: tuple[Step, ...]
    pipelines: Sequence[Pipeline]
    expected: Sequence[tuple[str, Mapping[str, float]]]
    chance: float
    work: float


class Trials:
    """What was tried of a space, by network."""

    def __init__(self, space: Sequence[Pipeline], tried: Mapping[str, Tried]) -> None:
        """Sort what was tried."""
        self._tried = tried
        self._networks: dict[str, list[Pipeline]] = {}
        for one in space:
            if program_steps(one.steps):
                self._networks.setdefault(group_of(one, one.runtimes[0]), []).append(one)
        self._bases = {
            (one.runtime, digest(one.steps)): one
            for one in tried.values()
            if is_measured(one) and not program_steps(one.steps)
        }

    def candidates(self, networks: Collection[str]) -> dict[str, Candidate]:
        """Give what may be trained still, by the unit that does it.

        Args:
            networks: Digests of what steps have made of the network already: that is not worked for again.
        """
        scaled, outcomes = self._scaled(), self._outcomes()
        found = {}
        for key, pipelines in self._networks.items():
            left = [one for one in pipelines if any(trial_key(one.name, of) not in self._tried for of in one.runtimes)]
            if not left:
                continue
            steps = program_steps(left[0].steps)
            begun_alike = [made for begun, made in outcomes if begun == steps[0]["op"]]
            found[key] = Candidate(
                steps=steps,
                pipelines=left,
                expected=list(self._expected(steps, left, scaled)),
                chance=(1 + sum(begun_alike)) / (1 + len(begun_alike)),
                work=_work(steps, networks),
            )
        return found

    def seen(self, score: float) -> list[Seen]:
        """Give the networks that were trained and measured.

        Args:
            score: The version's own.
        """
        found = []
        for pipelines in self._networks.values():
            trials = [one for one in self._of(pipelines) if is_measured(one)]
            if trials:
                gained = fmean(one.figures["accuracy"] for one in trials) - score
                found.append(Seen(program_steps(pipelines[0].steps), gained, samples(trials)))
        return found

    def _expected(
        self, steps: Sequence[Step], pipelines: Sequence[Pipeline], scaled: Mapping[tuple[str, str], list[Scaled]]
    ) -> Any:
        for one in pipelines:
            for runtime in one.runtimes:
                place = (runtime, digest(_finish(one.steps)))
                base = self._bases.get(place)
                if base is not None:
                    yield runtime, figures(steps, base.figures, scaled.get(place, ()))

    def _scaled(self) -> dict[tuple[str, str], list[Scaled]]:
        found: dict[tuple[str, str], list[Scaled]] = {}
        for one in self._tried.values():
            steps = program_steps(one.steps)
            place = (one.runtime, digest(_finish(one.steps)))
            base = self._bases.get(place)
            is_binary = any(step["op"] == "binarize" for step in steps)
            if steps and not is_binary and is_measured(one) and base is not None:
                ratios = {name: one.figures[name] / base.figures[name] for name in _COSTS}
                found.setdefault(place, []).append(Scaled(share(steps), ratios))
        return found

    def _outcomes(self) -> list[tuple[str, bool]]:
        """Give for each network that was tried by what it begins, and whether it could be made."""
        found = []
        for pipelines in self._networks.values():
            trials = self._of(pipelines)
            if trials:
                found.append((program_steps(pipelines[0].steps)[0]["op"], any(is_measured(one) for one in trials)))
        return found

    def _of(self, pipelines: Sequence[Pipeline]) -> list[Tried]:
        keys = [trial_key(one.name, runtime) for one in pipelines for runtime in one.runtimes]
        tried = [self._tried[key] for key in keys if key in self._tried]
        return [one for one in tried if one.state is not TrialState.STOPPED]


def is_measured(trial: Tried) -> bool:
    """Tell whether a trial came as far as its figures."""
    return "accuracy" in trial.figures and all(trial.figures.get(name, 0) > 0 for name in _COSTS)


def samples(trials: Sequence[Tried]) -> int:
    """Give how many samples the accuracies of trials were measured by."""
    return min((int(one.figures["samples"]) for one in trials if "samples" in one.figures), default=_FEWEST_SAMPLES)


def _finish(steps: Sequence[Step]) -> list[Step]:
    """Give the quantization that ends a pipeline, whether it is trained for or not."""
    return [{**step, "aware": None} for step in steps if step["op"] == "quantize"]


def _work(steps: Sequence[Step], networks: Collection[str]) -> float:
    work = _TRIALS
    for count, step in enumerate(steps, 1):
        if digest(steps[:count]) not in networks:
            work += _epochs(step) * (_FIXED + (1 - _FIXED) * share(steps[:count]))
    return work


def _epochs(step: Step) -> float:
    """Give for how many epochs a step trains."""
    training = step.get("training") or step.get("aware") or {}
    epochs = float(training.get("epochs", 0))
    if step["op"] != "distill":
        return epochs
    halves = len(step["temperatures"]) * len(step["weights"]) + 1  # each setting and none, and the best two to the end
    return halves * math.floor(epochs / 2) + 2 * epochs
