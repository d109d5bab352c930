"""What tests of the registry share: signatures of simple models, and versions that were looked at."""

from typing import Any

import msgspec

from controller.artifacts import versions
from controller.db import Database
from shoal.client import Client
from shoal.schemas.artifacts import Version
from shoal.schemas.signatures import Signature
from shoal.wire.models import Signature as WireSignature
from tests.rig import wait_for


def signature_row(shape: list[int], classes: int) -> dict[str, Any]:
    """A model's column: one float input, one score a class."""
    return {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, *shape]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, classes]}],
    }


def one_input(shape: list[int], classes: int) -> Signature:
    """The same for the API."""
    return Signature.model_validate(signature_row(shape, classes))


def tensors_row(shape: list[int]) -> dict[str, Any]:
    """A data set's column: float samples with labels."""
    return {"x": {"datatype": "FP32", "shape": shape}, "y": {"datatype": "INT64", "shape": []}}


def looked_at(client: Client, version: Version, timeout_s: float = 120) -> Version:
    """Wait until a job has looked at a version."""

    def judged() -> Version | None:
        now = client.models.show_version(version.model, version.number)
        return None if now.state == "checking" else now

    found = wait_for(judged, timeout_s)
    assert found is not None
    return found


def let_pass(database: Database, version: Version) -> None:
    """Judge a version as an inspection would, where no jobs run."""
    with database.transaction() as session:
        row = versions.version_by_id(session, version.id)
        found = msgspec.convert(signature_row([4], 3), WireSignature)
        versions.pass_version(session, row, found, {})
