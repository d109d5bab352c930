"""Version 1, its variants, and rollouts of any version."""

from typing import Any

from scenarios.digits import plan, report
from scenarios.digits.controls import Controls
from scenarios.digits.data import CLASSES, Samples
from scenarios.digits.report import require
from shoal.schemas.artifacts import DatasetRequest, DatasetRole, ModelRequest, Variant, Version, VersionRequest
from shoal.schemas.jobs import CompressionRequest
from shoal.schemas.recipes import Recipe
from shoal.schemas.rollouts import Rollout, RolloutRequest
from shoal.schemas.signatures import Signature, TensorSpec
from shoal.wire.models import Datatype
from shoal.wire.tensors import encode_tensors


def register(controls: Controls) -> None:
    """Upload the data sets, train on one device's share, and register that as version 1."""
    heldout, golden, own = controls.split.heldout, controls.split.golden, controls.split.own
    datasets: tuple[tuple[str, DatasetRole, Samples], ...] = (
        (plan.HELD_OUT, "evaluation", heldout),
        (plan.INVERTED, "evaluation", heldout.inverted()),
        (plan.CALIBRATION, "calibration", own),
        (plan.GOLDEN, "golden", golden),
        (plan.REPLAY, "training", own),
    )
    for name, role, samples in datasets:
        artifact = controls.client.artifacts.create(encode_tensors({"x": samples.x, "y": samples.y}))
        controls.client.datasets.create(DatasetRequest(name=name, role=role, sha256=artifact.sha256))
    with controls.stage.bar("training version 1") as show:
        show(0.0, "loading torch")
        from scenarios.digits.model import train_first_version  # torch takes seconds and 200 MB to import

        share = controls.split.shares[plan.FIRST_DEVICE]
        files, accuracy = train_first_version(share, controls.seed, plan.FIRST_EPOCHS, lambda done: show(done, ""))
    request = VersionRequest(
        train_program=controls.client.artifacts.create(files.train_program).sha256,
        eval_program=controls.client.artifacts.create(files.eval_program).sha256,
        weights=controls.client.artifacts.create(files.weights).sha256,
        notes=f"trained on the share of device {plan.FIRST_DEVICE}",
    )
    labels = [str(digit) for digit in range(CLASSES)]
    shape = list(controls.split.heldout.x.shape[1:])
    signature = Signature(
        inputs=[TensorSpec(name="input", datatype=Datatype.FP32, shape=[-1, *shape])],
        outputs=[TensorSpec(name="output", datatype=Datatype.FP32, shape=[-1, CLASSES])],
    )
    controls.client.models.create(ModelRequest(name=plan.MODEL, signature=signature, class_labels=labels))
    version = _looked_at(controls, controls.client.models.create_version(plan.MODEL, request))
    controls.stage.say(f"{plan.MODEL}/{version.number}: {accuracy:.1%} right on its own device's images")


def _looked_at(controls: Controls, made: Version) -> Version:
    """Wait until a job has opened an uploaded version in its sandbox."""

    def look() -> tuple[float, str, Version | None]:
        now = controls.client.models.show_version(made.model, made.number)
        return 0.5, "opening it in the sandbox", None if now.state == "checking" else now

    version = controls.wait(f"looking at version {made.number}", look, 150)
    require(version.state == "ready", f"Version {made.number} was refused: {version.message} [{version.code}]")
    return version


def compress(controls: Controls, version: int) -> None:
    """Make the three variants of a version, and check them."""
    job = controls.client.jobs.compress(
        CompressionRequest(
            model=plan.MODEL,
            version=version,
            recipes=[
                Recipe(name="fp32", runtimes=["onnxruntime"]),
                Recipe(name="int8", runtimes=["onnxruntime", "openvino"]),
            ],
            calibration_dataset=plan.CALIBRATION,
            evaluation_dataset=plan.HELD_OUT,
            golden_dataset=plan.GOLDEN,
        )
    )
    controls.finish(job, f"compressing version {version}")
    variants = controls.client.models.list_variants(plan.MODEL, version).items
    shown = [_variant(variant) for variant in variants]
    controls.report.variants += shown
    for variant in shown:
        controls.stage.say(
            f"{variant['recipe']} {variant['runtime']:12} {variant['size_bytes'] / 1024:6.0f} KiB  "
            f"accuracy {variant['accuracy']:.1%}  agreement {variant['agreement']:.1%}  "
            f"{variant['latency_ms']:.3f} ms"
        )
    report.check_variants(shown)


def roll_out(controls: Controls, version: int) -> None:
    """Move all devices to a version, and count the receipts that prove it."""
    rollout = controls.client.rollouts.create(RolloutRequest(model=plan.MODEL, version=version, selector="all"))

    def look() -> tuple[float, str, Rollout | None]:
        now = controls.client.rollouts.show(rollout.id)
        wave = next((wave.number for wave in now.waves if wave.state == "running"), len(now.waves))
        words = f"wave {wave}, {now.succeeded} of {now.devices} proven"
        return now.succeeded / now.devices, words, None if now.state == "running" else now

    ended = controls.wait(f"rolling out version {version}", look, 90)
    targets = controls.client.rollouts.targets(rollout.id).items
    receipts = [
        receipt
        for receipt in controls.client.devices.list_receipts(model=plan.MODEL, version=version, limit=200).items
        if receipt.execution_id in {target.execution_id for target in targets} and receipt.golden_passed
    ]
    controls.report.rollouts.append({"version": version, "state": ended.state, "receipts": len(receipts)})
    faults = "; ".join(f"{target.device_id}: {target.message}" for target in targets if target.message)
    require(ended.state == "succeeded", f"The rollout of version {version} is {ended.state}: {ended.message} {faults}")
    require(len(receipts) == plan.DEVICES, f"{len(receipts)} of {plan.DEVICES} devices sent a receipt.")
    chosen = sorted(f"{target.recipe} on {target.runtime}" for target in targets)
    counts = ", ".join(f"{chosen.count(one)} x {one}" for one in dict.fromkeys(chosen))
    controls.stage.say(f"version {version} serves on {len(receipts)} devices, each with a signed receipt: {counts}")


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "version": variant.version,
        "runtime": variant.runtime,
        "recipe": variant.recipe,
        "size_bytes": variant.size_bytes,
        "accuracy": variant.accuracy,
        "agreement": variant.agreement,
        "latency_ms": variant.latency_p50_ms,
    }
