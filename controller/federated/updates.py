"""A round's updates: taken one by one, each counted once, and summed up from the rows.

`sum_up` needs no transaction, so that none is held while large files are read; the same rows give bitwise the same
weights, in whatever order and however often it is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts.fit import check_given_weights
from controller.blobs import BlobStore
from controller.errors import Conflict, Invalid, NotFound
from controller.executions.tables import ExecutionRow
from controller.federated.aggregation import MAX_EXAMPLES, Update, WeightedSum
from controller.federated.rounds import RoundState
from controller.federated.tables import RoundRow, UpdateRow
from shoal.wire.errors import WireError
from shoal.wire.federated import FederatedRoundResult
from shoal.wire.tensors import decode_tensors, encode_tensors

_MAX_FIGURE: Final = 1e9  # of a loss in nats, a duration in seconds: keeps their sums finite


@dataclass(frozen=True, kw_only=True)
class Counted:
    """An accepted update as it goes into the sum."""

    execution_id: str
    sha256: str
    examples: int


@dataclass(frozen=True, kw_only=True)
class ClosingRound:
    """A round that can close with these updates."""

    round_id: str
    updates: tuple[Counted, ...]


@dataclass(frozen=True, kw_only=True)
class Summed:
    """What came of exactly these updates of a round: new weights, or a `code` that says why there are none."""

    closing: ClosingRound
    sha256: str = ""
    size_bytes: int = 0
    code: str = ""
    message: str = ""


def accept(
    session: Session, blobs: BlobStore, execution: ExecutionRow, result: Mapping[str, Any], now: datetime
) -> None:
    """Take the update that a device gives in an execution that is open and its own.

    Raises:
        Invalid: `update.malformed`, `update.bad_examples`, `update.too_large`.
        NotFound: `update.missing_artifact`.
        Conflict: `round.closed`.
        shoal.wire.errors.WireError: What is wrong with its tensors.
    """
    given = _parse(result)
    taking_part = session.get_one(RoundRow, execution.owner_id)
    # Each device's part of the bound on the sum, so that no device can spoil it for the others.
    most = MAX_EXAMPLES // len(taking_part.cohort)
    if given.examples > most:
        raise Invalid("update.bad_examples", f"The update claims {given.examples} examples; at most {most} are taken.")
    check_given_weights(session, blobs, sha256=given.update, base=taking_part.weights)
    # Locked, so that a round which closes at this moment either has this update or refuses it.
    session.refresh(taking_part, with_for_update=True)
    if taking_part.state != RoundState.OPEN:
        raise Conflict("round.closed", f"Round {taking_part.number} is {taking_part.state} already.")
    session.add(
        UpdateRow(
            execution_id=execution.id,
            round_id=taking_part.id,
            device_id=execution.device_id,
            sha256=given.update,
            examples=given.examples,
            loss=given.loss,
            duration_s=given.duration_s,
            accepted_at=now,
        )
    )
    session.flush()


def counted(session: Session, round_id: str) -> tuple[Counted, ...]:
    """Give a round's accepted updates."""
    query = select(UpdateRow).where(UpdateRow.round_id == round_id).order_by(UpdateRow.execution_id)
    return tuple(
        Counted(execution_id=row.execution_id, sha256=row.sha256, examples=row.examples)
        for row in session.scalars(query)
    )


def sum_up(blobs: BlobStore, closing: ClosingRound) -> Summed:
    """Average updates and store the mean; bytes that cannot be read are an answer, for they would never be."""
    summed = WeightedSum()
    try:
        for update in closing.updates:
            summed.add(Update(decode_tensors(blobs.read(update.sha256)), update.examples))
        sha256, size_bytes = blobs.put_bytes(encode_tensors(summed.mean()))
    except (Invalid, NotFound, WireError) as error:
        return Summed(closing=closing, code=error.code, message=str(error))
    return Summed(closing=closing, sha256=sha256, size_bytes=size_bytes)


def _parse(result: Mapping[str, Any]) -> FederatedRoundResult:
    try:
        given = msgspec.convert(result, FederatedRoundResult)
    except msgspec.ValidationError as error:
        raise Invalid("update.malformed", f"The result is not a federated round's: {error}") from error
    if not (0 <= given.loss <= _MAX_FIGURE and 0 <= given.duration_s <= _MAX_FIGURE):
        raise Invalid("update.malformed", f"Loss and duration are numbers from 0 to {_MAX_FIGURE:.0e}.")
    return given
