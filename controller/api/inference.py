"""`/v1/inference`: ask the controller's own runner for what a variant answers."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from controller.api.deps import PartsOf, Reader, Reading, room
from controller.artifacts import service as artifacts
from controller.errors import NotFound
from shoal.schemas.inference import InferAnswer, InferRequest

router = APIRouter(prefix="/inference", tags=["inference"])


@router.post("/models/{model}/versions/{version}/infer")
def infer(
    model: str,
    version: Annotated[int, Path(ge=1, le=2**53)],
    body: InferRequest,
    _caller: Reader,
    session: Reading,
    parts: PartsOf,
    variant: Annotated[str | None, Query(max_length=64)] = None,
) -> InferAnswer:
    """Run a variant on one request: the one that is named, else the most accurate."""
    variants = artifacts.list_variants(session, artifacts.get_version(session, model, version).id)
    fitting = [row for row in variants if variant in (None, row.id)]
    if not fitting:
        raise NotFound("variant.not_found", f"Version {version} of {model[:64]} has no such variant.")
    chosen = max(fitting, key=lambda row: (row.accuracy, row.id))
    asked = artifacts.get_model(session, model)
    session.close()  # nothing is read any more, and the runner may take long
    answer: InferAnswer = room("inference").infer(parts.blobs, chosen, asked, version, body)
    return answer
