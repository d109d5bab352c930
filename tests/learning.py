"""What tests of learning share: a tiny model in the registry, and a device that learns by the wire contract alone."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.tables import DatasetRow, ModelRow, VersionRow
from controller.blobs import BlobStore
from controller.db import utc_now
from shoal.schemas.federated import FederatedRunRequest, TrainingSettings
from shoal.wire.executions import ExecutionReport, Offer, ReportState
from shoal.wire.federated import FederatedRoundResult, FederatedRoundSpec
from shoal.wire.tensors import Tensors, decode_tensors, encode_tensors
from tests.device import Device
from tests.registry import signature_row, tensors_row
from tests.rig import Office

BASE: Tensors = {"w": np.zeros((4, 3), np.float32), "b": np.ones(3, np.float32)}


def register_model(session: Session, blobs: BlobStore, weights: Tensors = BASE) -> VersionRow:
    """Put the model `tiny`, its first version and the data set `tiny-eval` into the registry."""
    named = {"created_at": utc_now(), "created_by": "test"}
    session.add(
        ModelRow(
            name="tiny", task="classification", signature=signature_row([4], 3), class_labels=["a", "b", "c"], **named
        )
    )
    kept = {}
    for name, data in (("weights", encode_tensors(weights)), ("program", b"program"), ("data", b"data")):
        sha256, size = blobs.put_bytes(data)
        kept[name] = artifacts.record_artifact(session, sha256, size, "test").sha256
    for name, shape in (("tiny-eval", [4]), ("other-shape", [5])):
        session.add(
            DatasetRow(
                name=name, role="evaluation", sha256=kept["data"], samples=10, tensors=tensors_row(shape), **named
            )
        )
    version = VersionRow(
        model="tiny",
        number=1,
        source="uploaded",
        train_program=kept["program"],
        eval_program=kept["program"],
        weights=kept["weights"],
        lineage={},
        **named,
    )
    session.add(version)
    session.flush()
    return version


def run_request(*, rounds: int = 3, selector: str = "all", **training: Any) -> FederatedRunRequest:
    return FederatedRunRequest(
        model="tiny",
        version=1,
        selector=selector,
        rounds=rounds,
        evaluation_dataset="tiny-eval",
        training=TrainingSettings(dataset="local", **training),
    )


def train(weights: Tensors, seed: int) -> Tensors:
    """Move weights by multiples of 2**-10, so that float64 averages them without rounding."""
    random = np.random.default_rng(seed)
    moves = {name: random.integers(-512, 512, weights[name].shape) / 1024 for name in sorted(weights)}
    return {name: weights[name] + move.astype(np.float32) for name, move in moves.items()}


def upload(session: Session, blobs: BlobStore, data: bytes, device_id: str) -> str:
    """Do what the devices' door does with a blob."""
    sha256, size = blobs.put_bytes(data)
    return artifacts.record_artifact(session, sha256, size, device_id).sha256


class Learner:
    """A device that takes offers and answers them.

    Attributes:
        examples: n_k, what it says that it trained on.
        given: Its update in each round, by the round's number.
    """

    def __init__(self, office: Office, device: Device, examples: int) -> None:
        self.device = device
        self.examples = examples
        self.given: dict[int, Tensors] = {}
        self._office = office
        self._sequence = 1

    def spec(self, offer: Offer) -> FederatedRoundSpec:
        return msgspec.json.decode(offer.spec, type=FederatedRoundSpec)

    def trained(self, offer: Offer) -> bytes:
        spec = self.spec(offer)
        weights = decode_tensors(self._office.blobs.read(spec.weights.sha256))
        self.given[spec.round] = train(weights, spec.seed)
        return encode_tensors(self.given[spec.round])

    def result(self, data: bytes) -> dict[str, Any]:
        with self._office.database.transaction() as session:
            sha256 = upload(session, self._office.blobs, data, self.device.id)
        result = FederatedRoundResult(
            update=sha256, size_bytes=len(data), examples=self.examples, loss=0.5, duration_s=0.1
        )
        found: dict[str, Any] = msgspec.to_builtins(result)
        return found

    def report(
        self, offer: Offer, state: ReportState, result: dict[str, Any] | None = None, code: str = ""
    ) -> ExecutionReport:
        self._sequence += 1
        return ExecutionReport(
            id=f"1-{self._sequence}",
            session=1,
            sequence=self._sequence,
            execution_id=offer.execution_id,
            attempt=offer.attempt,
            state=state,
            result=result or {},
            code=code,
        )

    def answer(self, offer: Offer, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> ExecutionReport:
        """Train and give the update; `change` spoils the result."""
        report = self.report(offer, ReportState.SUCCEEDED, change(self.result(self.trained(offer))))
        self.device.say("execution", report)
        return report

    def answer_next(self) -> Offer:
        offer = self.device.hears(Offer)
        self.answer(offer)
        return offer


def mean_of(learners: list[Learner], number: int) -> Tensors:
    """Average a round's updates as numpy does."""
    counts = np.array([learner.examples for learner in learners], np.float64)
    stacked = {name: np.stack([learner.given[number][name] for learner in learners]) for name in BASE}
    return {
        name: np.average(arrays.astype(np.float64), axis=0, weights=counts).astype(np.float32)
        for name, arrays in stacked.items()
    }
