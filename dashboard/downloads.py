"""Files for the browser: read from the controller with the token that never leaves this process, and passed on."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from nicegui import run
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from dashboard.sessions import Session
from shoal.client import ApiError, Unreachable

_MEDIA_TYPES: Final[dict[Literal["csv", "json"], str]] = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


_SIGNS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


async def log(session: Session, execution_id: str) -> Response:
    """Give the log that a device sent, as a file of plain text."""
    if not set(execution_id) <= _SIGNS:  # it becomes part of a path, and of a header
        return PlainTextResponse("There is no such execution.\n", 404)
    return await _passed_on(session.client.executions.log(execution_id), "text/plain", f"{execution_id}.log")


async def devices(session: Session, query: Mapping[str, str]) -> Response:
    """Give all devices that `selector` means, as `format`; piece by piece, so that a large fleet is never held."""
    kind: Literal["csv", "json"] = "json" if query.get("format") == "json" else "csv"
    pieces = session.client.devices.export(kind, selector=query.get("selector") or "all")
    return await _passed_on(pieces, _MEDIA_TYPES[kind], f"devices.{kind}")


async def _passed_on(pieces: Iterator[bytes], media_type: str, name: str) -> Response:
    try:
        first = await run.io_bound(lambda: next(pieces, b""))  # a refusal comes with the first piece
    except ApiError as error:
        return PlainTextResponse(f"{error}\n", error.status)
    except Unreachable as error:
        return PlainTextResponse(f"{error}\n", 503)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_joined(first or b"", pieces), media_type=media_type, headers=headers)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
