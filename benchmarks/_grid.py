"""A search for recipes against all recipes: the search as the job runs it, the work as the job's sandbox does it.

All trials are made once, each with the processor seconds that it took; a network is trained and exported once for all
its recipes. The search pays for what it asks for, the grid for all. So both have the same figures, and only what is
tried differs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from controller.compression.choosing.budget import Budget
from controller.compression.choosing.pareto import hypervolume
from controller.compression.choosing.planning import Tried
from controller.compression.choosing.recipe import Pipeline, Step, digest, program_steps, trial_key
from controller.compression.choosing.search import Searching, choose, corner, points
from controller.compression.choosing.space import space
from controller.compression.graphs.calibrate import infer, session_of
from controller.compression.networks.samples import Samples
from controller.compression.workers.opener import Opener
from controller.jobs.states import TrialState
from scenarios.watch.data import Split
from shoal.training.programs import ProgramFiles
from shoal.wire.tensors import encode_tensors

Made = TypeVar("Made")

RUNTIME: Final = "onnxruntime"
MAX_TRIALS: Final = 16  # a request's default
_MAX_DROP: Final = 0.02
_RUNS: Final = 200
_WARM: Final = 10


@dataclass(frozen=True)
class Found:
    """What a search found of what there is.

    Attributes:
        volume_ratio: Of the grid's hypervolume, as the search counts it: no accuracy above the version's own.
        unbounded_ratio: The same with such accuracies counted as they were measured.
        cost_ratio: Of the processor seconds that the grid takes.
    """

    volume_ratio: float
    unbounded_ratio: float
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
        self._networks: dict[str, _Network] = {}
        self._exported: dict[str, tuple[Opener, bytes]] = {}
        self._tried: dict[str, Tried] = {}
        self._seconds: dict[str, float] = {}

    def tried(self, one: Pipeline, budget: Budget, paid: _Paid) -> Tried:
        """Give a pipeline's trial, and pay for what nobody paid for yet."""
        steps = program_steps(one.steps)
        network = self._network(steps, paid)
        if not network.refusal:
            self._once(f"export {digest(steps)}", paid, self._exported, lambda: self._export(steps, network))
        return self._once(f"trial {one.name}", paid, self._tried, lambda: self._measured(one, network, budget))

    def _once(self, key: str, paid: _Paid, kept: dict[str, Made], make: Callable[[], Made]) -> Made:
        if key not in kept:
            began = time.process_time()
            kept[key] = make()
            self._seconds[key] = time.process_time() - began
        paid.seconds[key] = self._seconds[key]
        return kept[key]

    def _network(self, steps: Sequence[Step], paid: _Paid) -> _Network:
        if not steps:
            return self._first
        before = self._network(steps[:-1], paid)
        return self._once(
            f"network {digest(steps)}",
            paid,
            self._networks,
            lambda: before if before.refusal else self._applied(before, steps[-1]),
        )

    def _applied(self, before: _Network, step: Step) -> _Network:
        request = {"step": dict(step), "weights": before.weights, "training": self._training}
        answer = _opened(before).answer({"op": "apply", **request})
        if not answer["ok"]:
            return _Network(b"", b"", answer["code"])
        return _Network(answer["program"], answer["weights"])

    def _export(self, steps: Sequence[Step], network: _Network) -> tuple[Opener, bytes]:
        opener = _opened(network)
        made = _asked(opener, op="export", weights=network.weights)["model"]
        binarize = next((step for step in steps if step["op"] == "binarize"), None)
        if binarize is not None:
            made = _asked(opener, op="pack", model=made, step=dict(binarize))["model"]
        return opener, made

    def _measured(self, one: Pipeline, network: _Network, budget: Budget) -> Tried:
        trial: dict[str, Any] = {"recipe": one.name, "runtime": RUNTIME, "steps": one.steps}
        if network.refusal:
            return Tried(**trial, state=TrialState.REFUSED, code=network.refusal)
        opener, made = self._exported[f"export {digest(program_steps(one.steps))}"]
        finish = next((step for step in one.steps if step["op"] == "quantize"), None)
        if finish is not None:
            step = {**finish, "aware": None}
            made = _asked(opener, op="quantize", model=made, step=step, calibration=self._calibration)["model"]
        figures = {
            "accuracy": accuracy(made, self._split.test.x, self._split.test.y),
            "size_bytes": len(made),
            "latency_p50_ms": latency_ms(made, self._split.test.x[:1]),
            "samples": len(self._split.test.y),
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
    ratios = [
        hypervolume(points(searched, budget, best), reference) / hypervolume(points(grid, budget, best), reference)
        for best in (score, 1.0)
        for reference in [corner(grid, budget, best)]
    ]
    return Found(
        volume_ratio=ratios[0],
        unbounded_ratio=ratios[1],
        cost_ratio=search_paid.total_s / grid_paid.total_s,
        trials=len(searched),
        of_trials=len(grid),
        grid_s=grid_paid.total_s,
    )


def _search(
    workshop: Workshop, pipelines: Sequence[Pipeline], budget: Budget, score: float
) -> tuple[dict[str, Tried], _Paid]:
    """Search as a job does that has one worker."""
    tried: dict[str, Tried] = {}
    networks: set[str] = set()
    paid = _Paid()
    while True:
        choice = choose(
            Searching(
                space=pipelines,
                tried=tried,
                max_trials=MAX_TRIALS,
                networks=frozenset(networks),
                budget=budget,
                score=score,
            )
        )
        if not choice.units:
            return tried, paid
        for told in choice.units[0].spec["pipelines"]:
            one = Pipeline(told["name"], tuple(told["steps"]), tuple(told["runtimes"]))
            tried[trial_key(one.name, RUNTIME)] = workshop.tried(one, budget, paid)
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
