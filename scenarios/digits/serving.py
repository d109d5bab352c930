"""Asking devices and the controller the same, in the bodies of the Open Inference Protocol v2."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import numpy as np
from numpy.typing import NDArray

from scenarios.digits import plan
from scenarios.digits.controls import Controls
from scenarios.digits.data import CLASSES, Samples
from scenarios.digits.report import require
from scenarios.errors import StepFailed
from shoal.client import Client
from shoal.schemas.inference import InferInput, InferRequest


@dataclass(frozen=True)
class Answered:
    """What came of single requests: the share of right labels, and the milliseconds of each."""

    accuracy: float
    milliseconds: list[float]

    @property
    def p50_ms(self) -> float:
        """The median."""
        return float(np.median(self.milliseconds))


class Device:
    """A device's own door."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def ask(self, samples: Samples, on_progress: Callable[[float], None] = lambda _: None) -> Answered:
        """Send the samples one by one.

        Raises:
            StepFailed: The device refused one.
        """

        def infer(body: InferRequest) -> object:
            response = self._http.post(
                f"/v2/models/{plan.MODEL}/infer",
                content=body.model_dump_json(),
                headers={"Content-Type": "application/json"},
            )
            if response.is_error:
                raise StepFailed(f"The device at {self.url} answered {response.status_code}: {response.text[:200]}")
            return response.json()["outputs"][0]["data"]

        return _ask(samples, infer, on_progress)


def ask_controller(client: Client, version: int, variant: str, samples: Samples) -> Answered:
    """Let the controller's own runner answer the samples one by one over REST."""
    return _ask(
        samples,
        lambda body: client.inference.infer(plan.MODEL, version, body, variant=variant).outputs[0]["data"],
        lambda _: None,
    )


def serve(controls: Controls, version: int) -> None:
    """Ask every device, and the controller for the same variant; compare what they say and how long it takes."""
    samples = controls.split.heldout.take(np.arange(plan.REQUESTS))
    local = []
    with controls.stage.bar("asking the devices") as show:
        for number, device in enumerate(controls.devices):
            door = Device(device.facts["inference_url"])
            controls.opened.callback(door.close)
            done = number / len(controls.devices)
            answered = door.ask(samples, lambda share, done=done: show(done + share / len(controls.devices), ""))  # type: ignore[misc]
            local.append(answered)
    variants = {variant.id: variant for variant in controls.client.models.list_variants(plan.MODEL, version).items}
    served = controls.client.devices.show(controls.devices[0].id).slots
    variant = variants[next(slot.variant_id for slot in served if slot.state == "serving")]
    ask_controller(controls.client, version, variant.id, samples.take(np.arange(5)))  # the first starts the runner
    central = ask_controller(controls.client, version, variant.id, samples)
    accuracy = float(np.mean([answered.accuracy for answered in local]))
    controls.report.inference = {
        "accuracy": accuracy,
        "local_p50_ms": local[0].p50_ms,
        "via_controller_p50_ms": central.p50_ms,
    }
    require(accuracy > 1 / CLASSES, f"The devices answer {accuracy:.1%} right, no better than chance.")
    controls.stage.say(
        f"{len(local) * len(samples)} requests, {accuracy:.1%} right; median {local[0].p50_ms:.2f} ms on the "
        f"device, {central.p50_ms:.2f} ms through the controller ({variant.recipe} on {variant.runtime} both times)"
    )


def _ask(samples: Samples, infer: Callable[[InferRequest], object], on_progress: Callable[[float], None]) -> Answered:
    right, milliseconds = 0, []
    for number, (x, y) in enumerate(zip(samples.x, samples.y, strict=True), start=1):
        body = _request(x)
        start = time.perf_counter()
        logits = infer(body)
        milliseconds.append((time.perf_counter() - start) * 1000)
        right += int(np.argmax(np.asarray(logits)) == y)
        on_progress(number / len(samples))
    return Answered(right / len(samples), milliseconds)


def _request(x: NDArray[np.float32]) -> InferRequest:
    tensor = InferInput(name="input", shape=[1, *x.shape], datatype="FP32", data=x.ravel().tolist())
    return InferRequest(inputs=[tensor])
