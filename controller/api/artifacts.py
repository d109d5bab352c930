"""`/v1/artifacts`, `/v1/datasets`: bytes in and out, and data sets made of them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints
from sqlalchemy import select

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing, body_chunks
from controller.api.pagination import Wanted, page
from controller.artifacts import service
from controller.artifacts.tables import DatasetRow
from controller.blobs import byte_range
from controller.db import utc_now
from shoal.schemas.artifacts import Artifact, Dataset, DatasetRequest, SignedUrl
from shoal.schemas.common import Page, Sha256

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
    session: Writing,
    parts: PartsOf,
    shoal_sha256: Annotated[Sha256 | None, Header()] = None,
) -> Artifact:
    """Take the raw body in; with the header `Shoal-Sha256` it is refused unless it has that digest."""
    # The session begins its transaction at its first statement, so none is open while the bytes come in.
    sha256, size = parts.blobs.put(
        body_chunks(request), expected_sha256=shoal_sha256, max_bytes=parts.settings.max_upload_bytes
    )
    return Artifact.model_validate(service.record_artifact(session, sha256, size, caller.name))


@router.post("/artifacts/{sha256}/url", status_code=201)
def create_url(sha256: Sha256, _caller: Reader, session: Reading, parts: PartsOf) -> SignedUrl:
    """Make a link to the bytes that needs no login for 15 minutes."""
    service.get_artifact(session, sha256)
    expires_at = (utc_now() + _LINK_LIFETIME).replace(microsecond=0)
    path = _content_path(sha256)
    return SignedUrl(url=f"{path}?{parts.url_signer.sign(path, expires_at)}", expires_at=expires_at)


@router.get("/artifacts/{sha256}/content", response_class=StreamingResponse)
def show_content(
    sha256: Sha256,
    expires: Annotated[int, Query(ge=0, le=2**53)],
    signature: Annotated[str, StringConstraints(max_length=128), Query()],
    parts: PartsOf,
    range_: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
) -> StreamingResponse:
    """Give the bytes behind a signed link, whole or a range."""
    parts.url_signer.check(_content_path(sha256), expires=expires, signature=signature, now=utc_now())
    size = parts.blobs.size(sha256)
    wanted = byte_range(range_, size)
    start, end = wanted or (0, size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes", "ETag": f'"{sha256}"'}
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    content: Iterator[bytes] = parts.blobs.stream(sha256, start, end)
    return StreamingResponse(content, 206 if wanted else 200, headers, media_type="application/octet-stream")


@router.post("/datasets", status_code=201)
def create_dataset(body: DatasetRequest, caller: Changer, session: Writing, parts: PartsOf) -> Dataset:
    """Make an uploaded artifact a data set."""
    row = service.create_dataset(session, parts.blobs, body, caller.name)
    audit.note(session, actor=caller.name, action="dataset.create", subject=row.name, data={"sha256": row.sha256})
    return Dataset.model_validate(row)


@router.get("/datasets")
def list_datasets(_caller: Reader, session: Reading, window: Wanted) -> Page[Dataset]:
    """List data sets, newest first."""
    return page(session, select(DatasetRow), DatasetRow.id, window, Dataset.model_validate)


@router.get("/datasets/{name}")
def show_dataset(name: str, _caller: Reader, session: Reading) -> Dataset:
    """Show a data set, by name or id."""
    return Dataset.model_validate(service.get_dataset(session, name))


def _content_path(sha256: str) -> str:
    return f"/v1/artifacts/{sha256}/content"
