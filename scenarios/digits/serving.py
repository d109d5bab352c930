"""Asking devices and the controller the same, in the bodies of the Open Inference Protocol v2."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import numpy as np
from numpy.typing import NDArray

from scenarios.digits import plan
from scenarios.digits.data import Samples
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
