"""The nine steps, in order; each ends with a check, so that the voyage ends where something is not as it shall be."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any, Final, Self, TypeVar

import numpy as np

from scenarios import fleet
from scenarios.digits import plan, report
from scenarios.digits.data import CLASSES, Samples, load_split
from scenarios.digits.report import Report, require
from scenarios.digits.serving import Device, ask_controller
from scenarios.errors import StepFailed
from scenarios.fleet import Address, AgentSettings
from scenarios.stage import Stage
from shoal.client import Client
from shoal.schemas.artifacts import (
    DatasetRequest,
    DatasetRole,
    EvaluationRequest,
    ModelRequest,
    Variant,
    VersionRequest,
)
from shoal.schemas.common import Selector
from shoal.schemas.devices import Device as DeviceBody
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.schemas.federated import FederatedRun, FederatedRunRequest, TrainingSettings
from shoal.schemas.incremental import IncrementalUpdate, LearningSettings, PolicyRequest
from shoal.schemas.jobs import CompressionRequest, Job, RecipeRequest
from shoal.schemas.rollouts import Rollout, RolloutRequest
from shoal.training.dataset import write_shard
from shoal.wire.tensors import encode_tensors

T = TypeVar("T")
STEPS: Final = 8  # beside starting the system
_NUMBER: Final = "number"
_OPEN: Final = frozenset({"queued", "running"})


class Voyage:
    """One voyage over a system that runs already; a context manager that ends its agents."""

    def __init__(
        self, *, client: Client, stage: Stage, report: Report, address: Address, state: Path, seed: int
    ) -> None:
        self._client = client
        self._stage = stage
        self._report = report
        self._address = address
        self._state = state
        self._seed = seed
        self._opened = ExitStack()
        self._split = load_split(plan.DEVICES, seed)
        self._processes: list[Popen[str]] = []
        self._devices: list[DeviceBody] = []  # by number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def sail(self) -> None:
        """Do everything.

        Raises:
            StepFailed: A step did not do what it shall.
        """
        self._stage.step(f"{plan.DEVICES} devices enrol themselves")
        self._enroll()
        self._stage.step(f"Register version 1, trained on the digits of device {plan.FIRST_DEVICE} alone")
        self._register()
        self._stage.step("Compress it on Ray")
        self._compress(1)
        self._stage.step("Roll out: one canary, then the rest")
        self._roll_out(1)
        self._stage.step("Serve: ask every device, and the controller")
        self._serve(1)
        self._stage.step(f"Learn together: {plan.ROUNDS} federated rounds, then version 2 by the same path")
        self._learn_together()
        self._compress(2)
        self._roll_out(2)
        self._stage.step(f"Learn alone: the sensor of device {plan.DRIFTING_DEVICE} now gives inverted images")
        self._learn_alone()
        self._stage.step("What came of it")

    def rest(self) -> None:
        """Wait until Ctrl-C, or until a process ends by itself."""
        while True:
            self._alive()
            time.sleep(1)

    def _enroll(self) -> None:
        settings = [
            AgentSettings(
                state=self._state / f"device-{number}",
                runtimes=runtimes,
                token=self._token(number),
                device_url=self._address.device_url,
            )
            for number, runtimes in enumerate(plan.RUNTIMES)
        ]
        for one, share in zip(settings, self._split.shares, strict=True):
            write_shard(one.data / plan.LOCAL_DATASET, share.x, share.y)
        self._processes = self._opened.enter_context(fleet.agents(settings))

        def look() -> tuple[float, str, list[DeviceBody] | None]:
            page = self._client.devices.list(limit=100)
            ready = [device for device in page.items if device.online and device.facts.get("inference_url")]
            words = f"{page.total} enrolled, {len(ready)} online"
            return len(ready) / plan.DEVICES, words, ready if len(ready) == plan.DEVICES else None

        ready = self._wait("enrolling", look, 60)
        self._devices = sorted(ready, key=lambda device: int(device.labels[_NUMBER]))
        total = self._client.devices.list(limit=1).total or 0
        self._report.devices = {"expected": plan.DEVICES, "enrolled": total, "online": len(ready)}
        for number, (device, share) in enumerate(zip(self._devices, self._split.shares, strict=True)):
            digits = "".join(str(digit) for digit in np.unique(share.y))
            runtimes = ", ".join(device.facts["runtimes"])
            self._stage.say(f"device {number}  {device.id}  {runtimes:12} {len(share):4} images of digits {digits}")

    def _token(self, number: int) -> str:
        """Make an enrolment token for one device, which gives it its number as a label."""
        request = EnrollmentTokenRequest(
            name=f"device {number}", labels={_NUMBER: str(number)}, max_uses=1, expires_in_s=3600
        )
        return self._client.enrollment_tokens.create(request).token

    def _register(self) -> None:
        heldout, golden, own = self._split.heldout, self._split.golden, self._split.own
        datasets: tuple[tuple[str, DatasetRole, Samples], ...] = (
            (plan.HELD_OUT, "evaluation", heldout),
            (plan.INVERTED, "evaluation", heldout.inverted()),
            (plan.CALIBRATION, "calibration", own),
            (plan.GOLDEN, "golden", golden),
            (plan.REPLAY, "training", own),
        )
        for name, role, samples in datasets:
            artifact = self._client.artifacts.create(encode_tensors({"x": samples.x, "y": samples.y}))
            self._client.datasets.create(DatasetRequest(name=name, role=role, sha256=artifact.sha256))
        with self._stage.bar("training version 1") as show:
            show(0.0, "loading torch")
            from scenarios.digits.model import train_first_version  # torch takes seconds and 200 MB to import

            share = self._split.shares[plan.FIRST_DEVICE]
            files, accuracy = train_first_version(share, self._seed, plan.FIRST_EPOCHS, lambda done: show(done, ""))
        request = VersionRequest(
            train_program=self._client.artifacts.create(files.train_program).sha256,
            eval_program=self._client.artifacts.create(files.eval_program).sha256,
            weights=self._client.artifacts.create(files.weights).sha256,
            notes=f"trained on the share of device {plan.FIRST_DEVICE}",
        )
        labels = [str(digit) for digit in range(CLASSES)]
        shape = list(self._split.heldout.x.shape[1:])
        self._client.models.create(ModelRequest(name=plan.MODEL, input_shape=shape, class_labels=labels))
        version = self._client.models.create_version(plan.MODEL, request)
        self._stage.say(f"{plan.MODEL}/{version.number}: {accuracy:.1%} right on its own device's images")

    def _compress(self, version: int) -> None:
        job = self._client.jobs.compress(
            CompressionRequest(
                model=plan.MODEL,
                version=version,
                recipes=[
                    RecipeRequest(name="fp32", runtimes=["onnxruntime"]),
                    RecipeRequest(name="int8", runtimes=["onnxruntime", "openvino"]),
                ],
                calibration_dataset=plan.CALIBRATION,
                evaluation_dataset=plan.HELD_OUT,
                golden_dataset=plan.GOLDEN,
            )
        )
        self._finish(job, f"compressing version {version}")
        variants = self._client.models.list_variants(plan.MODEL, version).items
        shown = [_variant(variant) for variant in variants]
        self._report.variants += shown
        for variant in shown:
            self._stage.say(
                f"{variant['recipe']} {variant['runtime']:12} {variant['size_bytes'] / 1024:6.0f} KiB  "
                f"accuracy {variant['accuracy']:.1%}  agreement {variant['agreement']:.1%}  "
                f"{variant['latency_ms']:.3f} ms"
            )
        report.check_variants(shown)

    def _roll_out(self, version: int) -> None:
        rollout = self._client.rollouts.create(
            RolloutRequest(model=plan.MODEL, version=version, selector=Selector(all=True))
        )

        def look() -> tuple[float, str, Rollout | None]:
            now = self._client.rollouts.show(rollout.id)
            wave = next((wave.number for wave in now.waves if wave.state == "running"), len(now.waves))
            words = f"wave {wave}, {now.succeeded} of {now.devices} proven"
            return now.succeeded / now.devices, words, None if now.state == "running" else now

        ended = self._wait(f"rolling out version {version}", look, 90)
        targets = self._client.rollouts.targets(rollout.id).items
        receipts = [
            receipt
            for receipt in self._client.devices.list_receipts(model=plan.MODEL, version=version, limit=200).items
            if receipt.execution_id in {target.execution_id for target in targets} and receipt.golden_passed
        ]
        self._report.rollouts.append({"version": version, "state": ended.state, "receipts": len(receipts)})
        faults = "; ".join(f"{target.device_id}: {target.message}" for target in targets if target.message)
        require(
            ended.state == "succeeded", f"The rollout of version {version} is {ended.state}: {ended.message} {faults}"
        )
        require(len(receipts) == plan.DEVICES, f"{len(receipts)} of {plan.DEVICES} devices sent a receipt.")
        chosen = sorted(f"{target.recipe} on {target.runtime}" for target in targets)
        counts = ", ".join(f"{chosen.count(one)} x {one}" for one in dict.fromkeys(chosen))
        self._stage.say(f"version {version} serves on {len(receipts)} devices, each with a signed receipt: {counts}")

    def _serve(self, version: int) -> None:
        samples = self._split.heldout.take(np.arange(plan.REQUESTS))
        local = []
        with self._stage.bar("asking the devices") as show:
            for number, device in enumerate(self._devices):
                door = Device(device.facts["inference_url"])
                self._opened.callback(door.close)
                done = number / len(self._devices)
                answered = door.ask(samples, lambda share, done=done: show(done + share / len(self._devices), ""))  # type: ignore[misc]
                local.append(answered)
        variants = {variant.id: variant for variant in self._client.models.list_variants(plan.MODEL, version).items}
        served = self._client.devices.show(self._devices[0].id).slots
        variant = variants[next(slot.variant_id for slot in served if slot.state == "serving")]
        ask_controller(self._client, version, variant.id, samples.take(np.arange(5)))  # the first starts the runner
        central = ask_controller(self._client, version, variant.id, samples)
        accuracy = float(np.mean([answered.accuracy for answered in local]))
        self._report.inference = {
            "accuracy": accuracy,
            "local_p50_ms": local[0].p50_ms,
            "via_controller_p50_ms": central.p50_ms,
        }
        require(accuracy > 1 / CLASSES, f"The devices answer {accuracy:.1%} right, no better than chance.")
        self._stage.say(
            f"{len(local) * len(samples)} requests, {accuracy:.1%} right; median {local[0].p50_ms:.2f} ms on the "
            f"device, {central.p50_ms:.2f} ms through the controller ({variant.recipe} on {variant.runtime} both times)"
        )

    def _learn_together(self) -> None:
        run = self._client.federated_runs.create(
            FederatedRunRequest(
                model=plan.MODEL,
                version=1,
                selector=Selector(all=True),
                rounds=plan.ROUNDS,
                evaluation_dataset=plan.HELD_OUT,
                training=TrainingSettings(
                    dataset=plan.LOCAL_DATASET,
                    local_epochs=plan.LOCAL_EPOCHS,
                    batch_size=plan.BATCH_SIZE,
                    learning_rate=plan.LEARNING_RATE,
                    momentum=plan.MOMENTUM,
                    seed=self._seed,
                ),
            )
        )

        def look() -> tuple[float, str, FederatedRun | None]:
            now = self._client.federated_runs.show(run.id)
            measured = [entry.accuracy for entry in now.rounds if entry.accuracy is not None]
            words = f"round {now.rounds_closed} of {now.rounds_total}"
            words += f", accuracy {measured[-1]:.1%}" if measured else ""
            is_measured = now.baseline_accuracy is not None and len(measured) == now.rounds_total
            is_done = now.state != "running" and (is_measured or now.state != "succeeded")
            return now.rounds_closed / now.rounds_total, words, now if is_done else None

        ended = self._wait("federated rounds", look, 120)
        require(ended.state == "succeeded", f"The federated run is {ended.state}: {ended.message}")
        self._report.federated = {
            "baseline_accuracy": ended.baseline_accuracy,
            "rounds": [
                {
                    "round": entry.number,
                    "accuracy": entry.accuracy,
                    "duration_s": entry.duration_s,
                    "updates": entry.updates,
                }
                for entry in ended.rounds
            ],
        }
        curve = " ".join(f"{entry.accuracy:.1%}" for entry in ended.rounds if entry.accuracy is not None)
        self._stage.say(f"accuracy {ended.baseline_accuracy:.1%} -> {curve}")
        report.check_federated(self._report.federated)
        version = self._client.models.show_version(plan.MODEL, 2)
        require((version.source, version.parent) == ("federated", 1), "Version 2 does not say that it came of the run.")

    def _learn_alone(self) -> None:
        device = self._devices[plan.DRIFTING_DEVICE]
        self._client.incremental_policies.create(
            PolicyRequest(
                model=plan.MODEL,
                selector=Selector(device_ids=[device.id]),
                replay_dataset=plan.REPLAY,
                retention_dataset=plan.HELD_OUT,
                learning=LearningSettings(dataset=plan.LOCAL_DATASET, new_samples=plan.NEW_SAMPLES, steps=plan.STEPS),
            )
        )
        self._await_monitor(device.id)
        update, noticed_after = self._stream_until_noticed(device)
        self._stage.say(
            f"noticed after {noticed_after} inverted samples, without labels; none of the clean ones alarmed"
        )
        ended = self._give_labelled_samples(device, update)
        require(ended.state == "kept", f"What the device learned was {ended.state}: {ended.message}")
        require(ended.result_version is not None, "What the device learned did not become a version.")
        assert ended.result_version is not None
        before, after = ended.base_version, ended.result_version
        self._report.incremental = {
            "old_before": self._accuracy(before, plan.HELD_OUT),
            "old_after": self._accuracy(after, plan.HELD_OUT),
            "new_before": self._accuracy(before, plan.INVERTED),
            "new_after": self._accuracy(after, plan.INVERTED),
            "noticed_after_samples": noticed_after,
        }
        figures = self._report.incremental
        self._stage.say(f"inverted digits {figures['new_before']:.1%} -> {figures['new_after']:.1%}")
        self._stage.say(f"digits as before {figures['old_before']:.1%} -> {figures['old_after']:.1%}")
        report.check_incremental(figures)

    def _await_monitor(self, device_id: str) -> None:
        def look() -> tuple[float, str, bool | None]:
            device = self._client.devices.show(device_id)
            return 0.5, "telling the device to watch", True if device.desired == device.reported else None

        self._wait("setting the monitor", look, 30)

    def _stream_until_noticed(self, device: DeviceBody) -> tuple[IncrementalUpdate, int]:
        """Send clean samples, then inverted ones until the device notices; gives after how many it did."""
        share = self._split.shares[plan.DRIFTING_DEVICE]
        random = np.random.default_rng(self._seed)
        door = Device(device.facts["inference_url"])
        self._opened.callback(door.close)
        with self._stage.bar("a clean stream") as show:
            door.ask(share.take(random.integers(len(share), size=plan.CLEAN_SAMPLES)), lambda done: show(done, ""))
        require(self._update_of(device) is None, "The device raised an alarm on its own clean images.")
        inverted = share.inverted().take(random.integers(len(share), size=plan.INVERTED_SAMPLES_LIMIT))
        with self._stage.bar("an inverted stream") as show:
            for number in range(len(inverted)):
                door.ask(inverted.take(np.array([number])))
                show(number / len(inverted), "")
                if number % 10 == 9 and (update := self._update_of(device)) is not None:
                    break
            else:
                update = self._wait("the device's evidence", self._look_for_update(device), 15)
        samples = int(update.evidence["samples"])
        return update, samples - plan.CLEAN_SAMPLES

    def _give_labelled_samples(self, device: DeviceBody, update: IncrementalUpdate) -> IncrementalUpdate:
        """Put labelled inverted samples into the device's folder, a portion at a time, until it has learned."""
        share = self._split.shares[plan.DRIFTING_DEVICE]
        index = np.random.default_rng(self._seed).permutation(len(share))[: plan.NEW_SAMPLES]
        new = share.inverted().take(index)
        folder = self._state / f"device-{plan.DRIFTING_DEVICE}" / "data" / plan.LOCAL_DATASET
        for start in range(0, len(new), plan.NEW_SAMPLES_A_SHARD):
            portion = new.take(np.arange(start, min(start + plan.NEW_SAMPLES_A_SHARD, len(new))))
            now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
            write_shard(folder, portion.x, portion.y, at=np.full(len(portion), now_us, np.int64))

        def look() -> tuple[float, str, IncrementalUpdate | None]:
            found = self._update_of(device)
            if found is None or found.id != update.id:
                raise StepFailed("The device's update has gone.")
            words, share_done = "", 0.0
            if found.execution_id is not None:
                execution = self._client.executions.show(found.execution_id)
                words, share_done = execution.message, execution.progress
            return share_done, words, None if found.finished_at is None else found

        return self._wait("learning on the device", look, 120)

    def _accuracy(self, version: int, dataset: str) -> float:
        """Give a version's accuracy, measured by the controller if it was not yet."""

        def found() -> float | None:
            evaluations = self._client.models.show_version(plan.MODEL, version).evaluations
            return next((one.accuracy for one in evaluations if one.dataset == dataset), None)

        accuracy = found()
        if accuracy is None:
            job = self._client.models.evaluate(plan.MODEL, version, EvaluationRequest(dataset=dataset))
            self._finish(job, f"measuring version {version}")
            accuracy = found()
        require(accuracy is not None, f"Version {version} was not measured on {dataset}.")
        assert accuracy is not None
        return accuracy

    def _finish(self, job: Job, what: str) -> None:
        def look() -> tuple[float, str, Job | None]:
            now = self._client.jobs.show(job.id)
            return now.progress, now.message, None if now.state in _OPEN else now

        ended = self._wait(what, look, 150)
        require(ended.state == "succeeded", f"{what} {ended.state}: {ended.message} [{ended.code}]")

    def _update_of(self, device: DeviceBody) -> IncrementalUpdate | None:
        return next(iter(self._client.incremental_updates.list(device_id=device.id, limit=1).items), None)

    def _look_for_update(self, device: DeviceBody) -> Callable[[], tuple[float, str, IncrementalUpdate | None]]:
        return lambda: (0.5, "", self._update_of(device))

    def _wait(self, what: str, look: Callable[[], tuple[float, str, T | None]], timeout_s: float) -> T:
        return self._stage.wait(what, look, timeout_s=timeout_s, alive=self._alive)

    def _alive(self) -> None:
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                raise StepFailed(f"The agent of device {number} ended with {process.returncode}; see its agent.log.")


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
