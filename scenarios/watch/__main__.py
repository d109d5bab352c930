"""`python -m scenarios.watch`: each technique inside a budget of two points, or refused with what was measured."""

import argparse
import sys
from typing import Any, Final

from scenarios.watch import plan
from scenarios.watch.data import Samples, Split, load
from scenarios.workbench import Workbench, require, sail, table
from shoal.schemas.artifacts import DatasetRole, ModelRequest
from shoal.schemas.jobs import CompressionRequest, Trial
from shoal.schemas.recipes import Budget, Recipe
from shoal.schemas.signatures import Signature, TensorSpec
from shoal.wire.models import Datatype

_COLUMNS: Final = ("recipe", "ended", "score", "drop", "KiB", "of fp32", "ms", "why")


def main() -> int:
    """Sail; gives the exit code."""
    return sail("watch", __doc__ or "", 2 * len(plan.MODELS), _voyage, _arguments)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=plan.MODELS, default=list(plan.MODELS))
    parser.add_argument("--techniques", nargs="+", choices=list(plan.TECHNIQUES)[1:], help="all, if not named")


def _voyage(bench: Workbench, options: argparse.Namespace) -> None:
    names: list[str] = ["fp32", *(options.techniques or list(plan.TECHNIQUES)[1:])]
    for model in options.models:
        bench.stage.step(f"Train and register {model}")
        _register(bench, model, load(model))
        bench.stage.step(f"Compress it: {', '.join(names)}, each at most {plan.MAX_ACCURACY_DROP:.0%} below")
        recipes = [
            Recipe.model_validate({"name": name, "runtimes": ["onnxruntime"], "steps": plan.TECHNIQUES[name]})
            for name in names
        ]
        job, trials = bench.compress(
            CompressionRequest(
                model=model,
                version=1,
                recipes=recipes,
                budget=Budget(max_accuracy_drop=plan.MAX_ACCURACY_DROP),
                calibration_dataset=f"{model}-calibration",
                evaluation_dataset=f"{model}-evaluation",
                golden_dataset=f"{model}-golden",
                training_dataset=f"{model}-training",
            )
        )
        rows = _rows(trials)
        bench.report[model] = {"job": job.state, "trials": rows}
        bench.stage.console.print(table(model, _COLUMNS, [_words(row) for row in rows]))
        _check(rows, names)


def _register(bench: Workbench, model: str, split: Split) -> None:
    with bench.stage.bar(f"training {model}") as show:
        show(0.0, "loading torch")
        from scenarios.watch.model import trained
        from shoal.training.loop import evaluate

        net, files = trained(model, split.train, lambda share: show(share, ""))
    measured = evaluate(net, split.test.x, split.test.y)
    bench.stage.say(f"{measured.accuracy:.1%} right of {measured.samples} samples that it was not trained on")
    classes = int(split.train.y.max()) + 1
    shape = list(split.train.x.shape[1:])
    request = ModelRequest(
        name=model,
        signature=Signature(
            inputs=[TensorSpec(name="input", datatype=Datatype.FP32, shape=[-1, *shape])],
            outputs=[TensorSpec(name="output", datatype=Datatype.FP32, shape=[-1, classes])],
        ),
        class_labels=[str(number) for number in range(classes)],
    )
    bench.register_program(request, files, f"trained for {plan.EPOCHS[model]} epochs")
    parts: tuple[tuple[DatasetRole, Samples], ...] = (
        ("training", split.train),
        ("calibration", split.train.take(plan.CALIBRATION_SAMPLES)),
        ("evaluation", split.test),
        ("golden", split.test.take(plan.GOLDEN_SAMPLES)),
    )
    for role, samples in parts:
        bench.dataset(f"{model}-{role}", role, {"x": samples.x, "y": samples.y})


def _rows(trials: list[Trial]) -> list[dict[str, Any]]:
    full = next((trial.figures for trial in trials if trial.recipe == "fp32" and trial.state == "succeeded"), {})
    return [
        {
            "recipe": trial.recipe,
            "state": trial.state,
            "code": trial.code,
            "message": trial.message,
            "accuracy": trial.figures.get("accuracy"),
            "drop": _less(trial.figures, full),
            "size_bytes": trial.figures.get("size_bytes"),
            "size_ratio": _ratio(trial.figures, full),
            "latency_p50_ms": trial.figures.get("latency_p50_ms"),
        }
        for trial in trials
    ]


def _less(figures: dict[str, Any], full: dict[str, Any]) -> float | None:
    return full["accuracy"] - figures["accuracy"] if "accuracy" in figures and full else None


def _ratio(figures: dict[str, Any], full: dict[str, Any]) -> float | None:
    return figures["size_bytes"] / full["size_bytes"] if "size_bytes" in figures and full else None


def _words(row: dict[str, Any]) -> list[str]:
    def figure(name: str, form: str, unit: float = 1.0) -> str:
        return "" if row[name] is None else format(row[name] / unit, form)

    return [
        row["recipe"],
        row["state"],
        figure("accuracy", ".2%"),
        figure("drop", "+.2%"),
        figure("size_bytes", ".0f", 1024),
        figure("size_ratio", ".3f"),
        figure("latency_p50_ms", ".3f"),
        row["message"],
    ]


def _check(rows: list[dict[str, Any]], names: list[str]) -> None:
    found = {row["recipe"]: row for row in rows}
    for name in names:
        require(name in found, f"{name} was not tried.")
        row = found[name]
        is_told = row["state"] == "refused" and (row["accuracy"] is not None or bool(row["message"]))
        is_inside = row["state"] == "succeeded" and row["drop"] <= plan.MAX_ACCURACY_DROP
        require(is_told or is_inside, f"{name} {row['state']}: {row['message']} [{row['code']}]")


if __name__ == "__main__":
    sys.exit(main())
