"""Versions as rows: one set of weights each, as exported programs or as a ready-made file, numbered within its model.

What comes from outside is `checking` until it was opened in the sandbox (`controller.compression.inspection`); what a
round or an update made of a ready one is ready.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import checks, formats
from controller.artifacts.lineage import VersionSource, VersionState
from controller.artifacts.models import check_signature
from controller.artifacts.stored import get_artifact, open_blob, reader
from controller.artifacts.tables import ModelRow, VersionRow
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.errors import Conflict, Invalid, NotFound
from shoal.wire.models import Signature

PROGRAM: Final = "program"
_MAX_MESSAGE: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What a version that can be trained is made of: digests."""

    train_program: str
    eval_program: str
    weights: str


def create_version(
    session: Session,
    *,
    model: str,
    source: VersionSource,
    parent_id: str | None,
    lineage: Mapping[str, Any],
    actor: str,
    format: str = PROGRAM,
    train_program: str | None = None,
    eval_program: str | None = None,
    weights: str | None = None,
    file: str | None = None,
) -> VersionRow:
    """Give a model its next version; of what comes from outside (`uploaded`) the files were checked (`check_files`).

    Raises:
        NotFound: `model.not_found`, `artifact.not_found`.
    """
    # The lock makes two at once count one after the other.
    if session.get(ModelRow, model, with_for_update=True) is None:
        raise NotFound("model.not_found", f"There is no model {model[:64]}.")
    named = {"train_program": train_program, "eval_program": eval_program, "weights": weights, "file": file}
    for sha256 in named.values():
        if sha256 is not None:
            get_artifact(session, sha256)
    latest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model == model))
    row = VersionRow(
        model=model,
        number=(latest or 0) + 1,
        source=source.value,
        format=format,
        **named,
        state=VersionState.CHECKING if source is VersionSource.UPLOADED else VersionState.READY,
        code="",
        message="",
        inspection={},
        parent_id=parent_id,
        lineage=dict(lineage) if source is VersionSource.UPLOADED else {**lineage, "code": metadata.version("shoal")},
        created_at=utc_now(),
        created_by=actor,
    )
    session.add(row)
    session.flush()
    data = {"source": row.source, "state": row.state}
    events.record(session, "version.created", subject=f"{row.model}/{row.number}", data=data)
    return row


def check_files(session: Session, blobs: BlobStore, format: str, files: Mapping[str, str | None]) -> None:
    """Look at the uploaded files of a version, piece by piece; takes a while, so nothing may wait for the session.

    Args:
        files: `train_program`, `eval_program`, `weights`, `file`: digests.

    Raises:
        NotFound: `artifact.not_found`.
        Invalid: `model.not_a_program`, `model.bad_weights`, `artifact.too_large`, what `formats.check_file` refuses.
    """
    for what, sha256 in files.items():
        if sha256 is None:
            continue
        row = get_artifact(session, sha256)
        if what == "file":
            formats.check_file(open_blob(blobs, row, most=formats.MAX_FILE_BYTES), row.size_bytes, format)
        elif what == "weights":
            checks.check_weights(reader(blobs, row, most=checks.MAX_TENSOR_FILE_BYTES), row.size_bytes)
        else:
            checks.check_program(open_blob(blobs, row, most=formats.MAX_FILE_BYTES), what.removesuffix("_program"))


def get_version(session: Session, model: str, number: int) -> VersionRow:
    """Give a version by its number within its model.

    Raises:
        NotFound: `version.not_found`.
    """
    row = session.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.number == number))
    if row is None:
        raise NotFound("version.not_found", f"There is no version {number} of {model[:64]}.")
    return row


def ready_version(session: Session, model: str, number: int) -> VersionRow:
    """Give a version that may be used.

    Raises:
        NotFound: `version.not_found`.
        Conflict: `version.not_ready`, with its state and what it was refused for.
    """
    row = get_version(session, model, number)
    if row.state != VersionState.READY:
        why = f": {row.message} [{row.code}]" if row.code else "; wait until its inspection has ended."
        raise Conflict("version.not_ready", f"{model}/{number} is {row.state}{why}", state=row.state, reason=row.code)
    return row


def version_by_id(session: Session, version_id: str) -> VersionRow:
    """Give a version by its id.

    Raises:
        NotFound: `version.not_found`.
    """
    row = session.get(VersionRow, version_id)
    if row is None:
        raise NotFound("version.not_found", "There is no such version.")
    return row


def programs_of(row: VersionRow) -> Programs:
    """Give the programs that a version learns with.

    Raises:
        Invalid: `version.not_trainable`.
    """
    if row.train_program is None or row.eval_program is None or row.weights is None:
        what = "has no training program" if row.format == PROGRAM else f"is a ready-made {row.format} file"
        raise Invalid("version.not_trainable", f"{row.model}/{row.number} {what}, so that nothing can train it.")
    return Programs(train_program=row.train_program, eval_program=row.eval_program, weights=row.weights)


def pass_version(session: Session, row: VersionRow, found: Signature, inspection: Mapping[str, Any]) -> None:
    """Note what the inspection of a version found: it is ready, and its model has a signature from then on.

    Raises:
        Invalid: `model.bad_labels`, `model.bad_preprocessing`; the version is not what its model says.
    """
    model = session.get_one(ModelRow, row.model, with_for_update=True)
    if not model.signature:
        check_signature(found, model.task, model.class_labels, model.preprocessing)
        model.signature = msgspec.to_builtins(found)
    row.inspection = dict(inspection)
    _judge(session, row, VersionState.READY)


def refuse_version(session: Session, row: VersionRow, code: str, message: str) -> None:
    """Note that a version is not what it should be."""
    _judge(session, row, VersionState.REFUSED, code, message)


def check_again(session: Session, row: VersionRow) -> None:
    """Have a version that was refused looked at once more.

    Raises:
        Conflict: `version.not_refused`.
    """
    session.refresh(row, with_for_update=True)
    if row.state != VersionState.REFUSED:
        raise Conflict("version.not_refused", f"{row.model}/{row.number} is {row.state}.", state=row.state)
    _judge(session, row, VersionState.CHECKING)


def list_checking(session: Session) -> list[VersionRow]:
    """Give the versions that nobody has judged yet."""
    return list(session.scalars(select(VersionRow).where(VersionRow.state == VersionState.CHECKING)))


def _judge(session: Session, row: VersionRow, state: VersionState, code: str = "", message: str = "") -> None:
    row.state, row.code, row.message = state.value, code, message[:_MAX_MESSAGE]
    session.flush()
    data = {"state": row.state, "code": code}
    events.record(session, "version.inspected", subject=f"{row.model}/{row.number}", data=data)
