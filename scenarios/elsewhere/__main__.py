"""`python -m scenarios.elsewhere`: ready-made models by the whole path: register, profile, roll out, infer."""

import argparse
import sys
from typing import Any, Final

import numpy as np

from scenarios.elsewhere.guests import GUESTS, Guest
from scenarios.workbench import Workbench, ask, require, sail, table
from shoal.schemas.artifacts import VersionRequest
from shoal.schemas.devices import Device
from shoal.schemas.jobs import CompressionRequest
from shoal.schemas.recipes import Recipe

_COLUMNS: Final = ("model", "what it has", "input", "variants", "device got", "ms device", "answers")
_RUNTIMES: Final = ("onnxruntime", "openvino", "litert")


def main() -> int:
    """Sail; gives the exit code."""
    return sail("elsewhere", __doc__ or "", 2 + len(GUESTS), _voyage, _arguments)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=list(GUESTS), default=list(GUESTS))


def _voyage(bench: Workbench, options: argparse.Namespace) -> None:
    bench.stage.step("A device enrols itself")
    device = bench.device("device", _RUNTIMES)
    rows = bench.report["models"] = []
    for name in options.models:
        guest = GUESTS[name]()
        bench.stage.step(f"{guest.model.name}: {guest.title}")
        rows.append(_taken(bench, guest, device))
    bench.stage.step("What came of it")
    bench.stage.console.print(
        table("Models made elsewhere", _COLUMNS, [[str(cell) for cell in row.values()] for row in rows])
    )


def _taken(bench: Workbench, guest: Guest, device: Device) -> dict[str, Any]:
    name = guest.model.name
    request = VersionRequest.model_validate(
        {"format": guest.format, "file": bench.client.artifacts.create(guest.file).sha256, "notes": guest.title}
    )
    version = bench.register(guest.model, request)
    signature = bench.client.models.show(name).signature
    assert signature is not None
    (taken,) = signature.inputs
    bench.stage.say(f"{version.format}: {taken.name} {taken.datatype} {taken.shape}")
    bench.dataset(f"{name}-evaluation", "evaluation", {"x": guest.x, "y": guest.y})
    bench.dataset(f"{name}-calibration", "calibration", {"x": guest.x})
    bench.dataset(f"{name}-golden", "golden", {"x": guest.x})
    recipes = [
        Recipe.model_validate({"name": recipe, "runtimes": runtimes}) for recipe, runtimes in guest.recipes.items()
    ]
    job, trials = bench.compress(
        CompressionRequest(
            model=name,
            version=1,
            recipes=recipes,
            calibration_dataset=f"{name}-calibration",
            evaluation_dataset=f"{name}-evaluation",
            golden_dataset=f"{name}-golden",
        )
    )
    for trial in trials:
        bench.stage.say(f"{trial.recipe:5} {trial.runtime:12} {trial.state} {trial.code} {trial.message}".rstrip())
    require(job.state == "succeeded", f"The compression of {name} {job.state}: {job.message} [{job.code}]")
    profiles = {(one.recipe, one.runtime): one for one in bench.profile(name, device)}
    require(all(one.passed for one in profiles.values()), f"A golden set of {name} failed on the device.")
    got = bench.roll_out(name, f"id in ({device.id})")
    answers = [ask(device, name, taken.name, taken.datatype, x) for x in (guest.x[:1], *guest.others)]
    require(all(bool(np.isfinite(answer).all()) for answer in answers), f"{name} answers what is not finite.")
    recipe, _, runtime = got.partition(" on ")
    return {
        "model": name,
        "title": guest.title,
        "input": f"{taken.datatype} {taken.shape}",
        "variants": ", ".join(f"{one.recipe} {one.runtime} {one.agreement:.0%}" for one in bench.variants(name)),
        "device_got": got,
        "latency_p50_ms": round(float(profiles[recipe, runtime].figures["latency_p50_ms"]), 3),
        "answers": " ".join(str(list(answer.shape)) for answer in answers),
    }


if __name__ == "__main__":
    sys.exit(main())
