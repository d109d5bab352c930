"""A search for recipes against all recipes: the search as the job runs it, the work as the job's sandbox does it.

All trials are made once, each with the processor seconds that it took. The search pays for what it asks for, its probes
among that, and the grid for all but the probes. So both have the same figures, and only what is tried differs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from controller.compression.choosing.budget import Budget
from controller.compression.choosing.pareto import hypervolume
from controller.compression.choosing.planning import Tried
from controller.compression.choosing.recipe import Pipeline, Step, digest, program_steps, trial_key
from controller.compression.choosing.search import Searching, choose, corner, points, space
from controller.compression.graphs.calibrate import infer, session_of
from controller.compression.networks.samples import Samples
from controller.compression.workers.opener import Opener
from controller.jobs.states import TrialState
from scenarios.watch.data import Split
from shoal.training.programs import ProgramFiles
from shoal.wire.tensors import encode_tensors

RUNTIME: Final = "onnxruntime"
MAX_TRIALS: Final = 16  # a request's default
_MAX_DROP: Final = 0.02
_RUNS: Final = 200
_WARM: Final = 10


@dataclass(frozen=True)
class Found:
    """What a search found of what there is.

    Attributes:
        volume_ratio: Of the grid's hypervolume.
        cost_ratio: Of the processor seconds that the grid takes.
    """

    volume_ratio: float
    cost_ratio: float
    trials: int
    of_trials: int
    grid_s: float


@dataclass
class _Paid:
    """Pieces of work by name, each paid once, with its seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class _Network:
    program: bytes
    weights: bytes
    refusal: str = ""


class Workshop:
    """Makes and measures what pipelines say, keeps it, and tells what it cost."""

    def __init__(self, files: ProgramFiles, split: Split, calibration: int) -> None:
        self._split = split
        self._training = encode_tensors({"x": split.train.x, "y": split.train.y})
        self._calibration = encode_tensors({"x": split.train.x[:calibration]})
        self._first = _Network(files.eval_program, files.weights)
        self._networks: dict[tuple[str, bool], _Network] = {}
        self._tried: dict[tuple[str, float], Tried] = {}
        self._seconds: dict[str, float] = {}

    def tried(self, one: Pipeline, budget: Budget, paid: _Paid, share: float = 1.0) -> Tried:
        """Give a pipeline's trial on a part of the evaluation set, and pay for what nobody paid for yet."""
        key = (digest(one.steps) + one.name, share)
        network = self._network(program_steps(one.steps), paid, is_probe=share < 1.0)
        if key not in self._tried:
            began = time.process_time()
            self._tried[key] = self._measured(one, network, budget, share)
            self._seconds[f"{key}"] = time.process_time() - began
        paid.seconds[f"{key}"] = self._seconds[f"{key}"]
        return self._tried[key]

    def _network(self, steps: Sequence[Step], paid: _Paid, *, is_probe: bool) -> _Network:
        if not steps:
            return self._first
        before = self._network(steps[:-1], paid, is_probe=is_probe)
        key = (digest(steps), is_probe)
        if key not in self._networks:
            began = time.process_time()
            self._networks[key] = before if before.refusal else self._applied(before, steps[-1], is_probe)
            self._seconds[f"{key}"] = time.process_time() - began
        paid.seconds[f"{key}"] = self._seconds[f"{key}"]
        return self._networks[key]

    def _applied(self, before: _Network, step: Step, is_probe: bool) -> _Network:
        opener = _opened(before)
        answer = opener.answer(
            {
                "op": "apply",
                "step": dict(step),
                "weights": before.weights,
                "training": self._training,
                "has_to_gain": not is_probe,
            }
        )
        if not answer["ok"]:
            return _Network(b"", b"", answer["code"])
        return _Network(answer["program"], answer["weights"])

    def _measured(self, one: Pipeline, network: _Network, budget: Budget, share: float) -> Tried:
        trial: dict[str, Any] = {"recipe": one.name, "runtime": RUNTIME, "steps": one.steps}
        if network.refusal:
            return Tried(**trial, state=TrialState.REFUSED, code=network.refusal)
        opener = _opened(network)
        made = _asked(opener, op="export", weights=network.weights)["model"]
        binarize = next((step for step in one.steps if step["op"] == "binarize"), None)
        if binarize is not None:
            made = _asked(opener, op="pack", model=made, step=dict(binarize))["model"]
        finish = next((step for step in one.steps if step["op"] == "quantize"), None)
        if finish is not None:
            step = {**finish, "aware": None}
            made = _asked(opener, op="quantize", model=made, step=step, calibration=self._calibration)["model"]
        count = max(1, round(len(self._split.test.y) * share))
        figures = {
            "accuracy": accuracy(made, self._split.test.x[:count], self._split.test.y[:count]),
            "size_bytes": len(made),
            "latency_p50_ms": latency_ms(made, self._split.test.x[:1]),
        }
        is_inside = not budget.excess(RUNTIME, figures)
        state = TrialState.SUCCEEDED if is_inside else TrialState.REFUSED
        return Tried(**trial, state=state, code="" if is_inside else "accuracy.over_budget", figures=figures)


def compare(files: ProgramFiles, split: Split, calibration: int) -> Found:
    """Do both."""
    workshop = Workshop(files, split, calibration)
    pipelines = space([RUNTIME], "program", has_training=True)
    (fp32,) = [one for one in pipelines if one.name == "fp32"]
    free = Budget(min_accuracy=0.0, latency_factors={})
    score = float(workshop.tried(fp32, free, _Paid()).figures["accuracy"])
    budget = Budget(min_accuracy=score - _MAX_DROP, latency_factors={})
    searched, search_paid = _search(workshop, pipelines, budget, score)
    grid_paid = _Paid()
    grid = {trial_key(one.name, RUNTIME): workshop.tried(one, budget, grid_paid) for one in pipelines}
    measured = [(one.runtime, one.figures) for one in grid.values() if one.figures]
    reference = corner(measured, budget)
    return Found(
        volume_ratio=hypervolume(points(searched, budget), reference) / hypervolume(points(grid, budget), reference),
        cost_ratio=search_paid.total_s / grid_paid.total_s,
        trials=sum(1 for one in searched.values() if one.figures),
        of_trials=len(grid),
        grid_s=grid_paid.total_s,
    )


def _search(
    workshop: Workshop, pipelines: Sequence[Pipeline], budget: Budget, score: float
) -> tuple[dict[str, Tried], _Paid]:
    """Search as a job does that has one worker."""
    tried: dict[str, Tried] = {}
    probes: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    networks: set[str] = set()
    paid = _Paid()
    while True:
        choice = choose(
            Searching(
                space=pipelines,
                tried=tried,
                probes=probes,
                max_trials=MAX_TRIALS,
                networks=frozenset(networks),
                budget=budget,
                score=score,
            )
        )
        if not choice.units:
            return tried, paid
        unit = choice.units[0]
        share = unit.spec.get("probe", 1.0)
        for told in unit.spec["pipelines"]:
            one = Pipeline(told["name"], tuple(told["steps"]), tuple(told["runtimes"]))
            found = workshop.tried(one, budget, paid, share)
            key = trial_key(one.name, RUNTIME)
            if share < 1.0:
                probes[unit.key] = {**probes.get(unit.key, {}), key: {"code": found.code, **found.figures}}
            else:
                tried[key] = found
                steps = program_steps(one.steps)
                networks |= {digest(steps[:count]) for count in range(1, len(steps) + 1)}


def accuracy(model: bytes, x: Any, y: Any) -> float:
    """Give the share of right labels of an ONNX model with one input and one output."""
    (name,) = [argument.name for argument in session_of(model).get_inputs()]
    (outputs,) = infer(model, Samples({name: x}, {}, ())).values()
    return float((outputs.argmax(axis=1) == y).mean())


def latency_ms(model: bytes, x: Any) -> float:
    """Give the median of single inferences on one thread."""
    session = session_of(model)
    (name,) = [argument.name for argument in session.get_inputs()]
    times = []
    for run in range(_RUNS + _WARM):
        began = time.perf_counter_ns()
        session.run(None, {name: x})
        if run >= _WARM:
            times.append(time.perf_counter_ns() - began)
    return float(np.median(times)) / 1e6


def _opened(network: _Network) -> Opener:
    opener = Opener()
    _asked(opener, op="open", program=network.program)
    return opener


def _asked(opener: Opener, **request: Any) -> dict[str, Any]:
    answer = opener.answer(request)
    if not answer["ok"]:
        raise RuntimeError(f"{request['op']}: {answer['message']} [{answer['code']}]")
    return answer
