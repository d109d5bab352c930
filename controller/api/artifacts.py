"""`/v1/artifacts`, `/v1/datasets`, `/v1/dataset-imports`: bytes in and out, and data sets made of them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import StringConstraints
from sqlalchemy import select

from controller import audit, removal
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing, body_chunks, room
from controller.api.pagination import Wanted, page
from controller.artifacts import datasets, service
from controller.artifacts.tables import DatasetRow
from controller.blobs import byte_range
from controller.db import utc_now
from controller.errors import Invalid
from shoal.schemas.artifacts import Artifact, Dataset, DatasetRequest, SignedUrl
from shoal.schemas.common import Page, Sha256
from shoal.schemas.jobs import Job

router = APIRouter(tags=["artifacts"])
_LINK_LIFETIME: Final = timedelta(minutes=15)


@router.post(
    "/artifacts",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def create_artifact(
    request: Request,
    caller: Changer,
    parts: PartsOf,
    shoal_sha256: Annotated[Sha256 | None, Header()] = None,
) -> Artifact:
    """Take the raw body in; with the header `Shoal-Sha256` it is refused unless it has that digest."""
    sha256, size = parts.blobs.put(
        body_chunks(request), expected_sha256=shoal_sha256, max_bytes=parts.settings.max_upload_bytes
    )
    # Opened only now: nobody else writes for as long as a transaction is open.
    with parts.database.transaction() as session:
        return Artifact.model_validate(service.record_artifact(session, sha256, size, caller.name))


@router.post("/artifacts/{sha256}/url", status_code=201)
def create_url(sha256: Sha256, _caller: Reader, session: Reading, parts: PartsOf) -> SignedUrl:
    """Make a link to the bytes that needs no login for 15 minutes."""
    service.get_artifact(session, sha256)
    expires_at = (utc_now() + _LINK_LIFETIME).replace(microsecond=0)
    path = _content_path(sha256)
    return SignedUrl(url=f"{path}?{parts.url_signer.sign(path, expires_at)}", expires_at=expires_at)


@router.get(
    "/artifacts/{sha256}/content",
    response_class=StreamingResponse,
    responses={307: {"description": "The bytes are in an object store, behind another link."}},
)
def show_content(
    sha256: Sha256,
    expires: Annotated[int, Query(ge=0, le=2**53)],
    signature: Annotated[str, StringConstraints(max_length=128), Query()],
    parts: PartsOf,
    range_: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
) -> Response:
    """Give the bytes behind a signed link, whole or a range; where they are in an object store, lead there."""
    parts.url_signer.check(_content_path(sha256), expires=expires, signature=signature, now=utc_now())
    size = parts.blobs.size(sha256)
    if link := parts.blobs.link(sha256):
        return Response(status_code=307, headers={"Location": link, "Cache-Control": "no-store"})
    wanted = byte_range(range_, size)
    start, end = wanted or (0, size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes", "ETag": f'"{sha256}"'}
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    content: Iterator[bytes] = parts.blobs.stream(sha256, start, end)
    return StreamingResponse(content, 206 if wanted else 200, headers, media_type="application/octet-stream")


@router.post("/datasets", status_code=201)
def create_dataset(body: DatasetRequest, caller: Changer, parts: PartsOf) -> Dataset:
    """Make uploaded safetensors a data set."""
    if body.format != "safetensors":
        raise Invalid("dataset.needs_import", f"{body.format} is converted by a job: POST /v1/dataset-imports.")
    with parts.database.reading() as session:
        datasets.require_new(session, body.name)
        size_bytes = service.get_artifact(session, body.sha256).size_bytes
    figures = datasets.examine_blob(parts.blobs, body.sha256, size_bytes)
    # Opened only now: looking at the bytes takes a while.
    with parts.database.transaction() as session:
        row = service.create_dataset(session, body, figures, caller.name)
        audit.note(session, actor=caller.name, action="dataset.create", subject=row.name, data={"sha256": row.sha256})
        return Dataset.model_validate(row)


@router.post("/dataset-imports", status_code=202)
def create_dataset_import(body: DatasetRequest, caller: Changer, session: Writing) -> Job:
    """Start a job that makes an uploaded npz, Parquet or zip of images a data set."""
    job = Job.model_validate(room("datasets").create(session, body, caller.name))
    audit.note(session, actor=caller.name, action="dataset.import", subject=body.name, data={"sha256": body.sha256})
    return job


@router.get("/datasets")
def list_datasets(_caller: Reader, session: Reading, window: Wanted) -> Page[Dataset]:
    """List data sets, newest first."""
    return page(session, select(DatasetRow), DatasetRow.id, window, Dataset.model_validate)


@router.get("/datasets/{name}")
def show_dataset(name: str, _caller: Reader, session: Reading) -> Dataset:
    """Show a data set, by name or id."""
    return Dataset.model_validate(service.get_dataset(session, name))


@router.delete("/datasets/{name}", status_code=204)
def delete_dataset(name: str, caller: Changer, session: Writing) -> None:
    """Delete a data set, by name or id; refused with the list while anything depends on it."""
    removal.delete_dataset(session, name)
    audit.note(session, actor=caller.name, action="dataset.delete", subject=name)


def _content_path(sha256: str) -> str:
    return f"/v1/artifacts/{sha256}/content"
