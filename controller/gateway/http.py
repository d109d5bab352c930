"""The devices' door over HTTPS, `/device/v1`: the CA, enrolment, blobs in and out.

Blobs need a signed request: the device's key over method, path and time, because a TLS client certificate does not get
through every proxy. A signature is good for 300 s; within them it opens the same path again, which gives only what the
device may have anyway. Each refusal is a problem body, and is counted.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
from anyio import from_thread
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from controller import observe
from controller.artifacts import service as artifacts
from controller.blobs import BlobStore, byte_range
from controller.db import Database, new_id, utc_now
from controller.devices import enrollment
from controller.devices.lifecycle import DeviceState, may_connect
from controller.devices.tables import DeviceRow
from controller.errors import Conflict, Forbidden, Invalid, NotFound, ShoalError, Unavailable
from controller.keys import Keys
from controller.settings import Settings
from shoal.wire import signing, topics
from shoal.wire.devices import EnrollRequest, Problem
from shoal.wire.errors import WireError

MAX_CLOCK_SKEW_S: Final = 300
_MAX_ENROLL_BYTES: Final = 64 * 1024
_log: Final = logging.getLogger(__name__)


class NotSigned(Forbidden):
    """Which device asks is not proven."""


_STATUSES: Final[tuple[tuple[type[ShoalError], int], ...]] = (
    (NotSigned, 401),
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (Forbidden, 403),
    (Unavailable, 503),
)
_STATUS_OF_CODE: Final = {
    "upload.no_length": 411,
    "artifact.too_large": 413,
    "request.too_large": 413,
    "range.not_satisfiable": 416,
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the composition root hands to this door."""

    settings: Settings
    database: Database
    keys: Keys
    blobs: BlobStore


def create_door(parts: Parts) -> Starlette:
    """Build the application."""
    door = Starlette(
        routes=[
            Route("/device/v1/ca", _show_ca, methods=["GET"]),
            Route("/device/v1/enroll", _enroll, methods=["POST"]),
            Route("/device/v1/blobs/{sha256}", _get_blob, methods=["GET"]),
            Route("/device/v1/blobs/{sha256}", _put_blob, methods=["PUT"]),
        ],
        exception_handlers={
            ShoalError: _refused,
            HTTPException: _http,
            ClientDisconnect: _gone,
            OperationalError: _no_database,
            Exception: _failed,
        },
    )
    door.state.parts = parts
    return door


def _show_ca(request: Request) -> Response:
    # Not trusted by itself: the agent compares its digest with the one in its enrolment token.
    return Response(_parts(request).keys.ca_pem, media_type="application/x-pem-file")


def _enroll(request: Request) -> Response:
    parts = _parts(request)
    body = b"".join(_body(request, _MAX_ENROLL_BYTES))
    try:
        wanted = msgspec.json.decode(body, type=EnrollRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("request.invalid", f"The enrolment request is not as it should be: {error}") from error
    with parts.database.transaction() as session:
        answer = enrollment.enroll(session, parts.keys, parts.settings, wanted, utc_now())
    _log.info("enrolled %s", answer.device_id)
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _get_blob(request: Request) -> Response:
    parts = _parts(request)
    _check_signed(request)
    sha256 = request.path_params["sha256"]
    size = parts.blobs.size(sha256)
    wanted = byte_range(request.headers.get("Range"), size)
    start, end = wanted or (0, size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes", "ETag": f'"{sha256}"'}
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        parts.blobs.stream(sha256, start, end), 206 if wanted else 200, headers, "application/octet-stream"
    )


def _put_blob(request: Request) -> Response:
    parts = _parts(request)
    device_id = _check_signed(request)
    length = request.headers.get("Content-Length", "")
    if not length.isascii() or not length.isdigit():
        raise Invalid("upload.no_length", "An upload announces its size in Content-Length.")
    if int(length) > parts.settings.max_upload_bytes:
        raise Invalid("artifact.too_large", f"An artifact has at most {parts.settings.max_upload_bytes} bytes.")
    sha256, size = parts.blobs.put(
        _body(request, int(length)), expected_sha256=request.path_params["sha256"], max_bytes=int(length)
    )
    with parts.database.transaction() as session:
        artifacts.record_artifact(session, sha256, size, device_id)
    return Response(status_code=201)


def _check_signed(request: Request) -> str:
    """Give the id of the active device that signed a request.

    Raises:
        NotSigned: `request.unsigned`, `request.clock_skew`, `device.unknown`, `signature.invalid`.
        Forbidden: `device.not_active`.
    """
    device_id = request.headers.get("Shoal-Device", "")
    at = request.headers.get("Shoal-At", "")
    signature = request.headers.get("Shoal-Signature", "")
    if not topics.is_device_id(device_id) or not signature or not (at.isascii() and at.isdigit() and len(at) < 16):
        raise NotSigned("request.unsigned", "Sign the request: Shoal-Device, Shoal-At, Shoal-Signature.")
    off_s = int(at) - utc_now().timestamp()
    if abs(off_s) > MAX_CLOCK_SKEW_S:
        raise NotSigned(
            "request.clock_skew", f"Shoal-At is {off_s:+.0f} s off; at most {MAX_CLOCK_SKEW_S} s are allowed."
        )
    with _parts(request).database.reading() as session:
        device = session.get(DeviceRow, device_id)
        if device is None:
            raise NotSigned("device.unknown", "This device is not one of this controller; enrol it.")
        public_key, state = device.public_key, DeviceState(device.state)
    try:
        signing.verify(public_key, f"{request.method} {request.url.path} {at}", "", signature)
    except WireError as error:
        raise NotSigned(error.code, "The signature is not the device's over this method, path and time.") from error
    request.state.device_id = device_id
    if not may_connect(state):
        raise Forbidden("device.not_active", f"This device is {state}.")
    return device_id


def _body(request: Request, max_bytes: int) -> Iterator[bytes]:
    """Give a request's body as it comes, to an endpoint that runs in a worker thread."""
    stream = request.stream()

    async def next_chunk() -> bytes | None:
        return await anext(stream, None)

    taken = 0
    while (chunk := from_thread.run(next_chunk)) is not None:
        taken += len(chunk)
        if taken > max_bytes:
            raise Invalid("request.too_large", f"The request has more than {max_bytes} bytes.")
        yield chunk


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def _problem(request: Request, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = Problem(code=code, title=code, detail=detail, status=status, request_id=new_id())
    return Response(msgspec.json.encode(body), status, headers, "application/problem+json")


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ShoalError)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    # Only a proven sender is counted by its name: nobody shall spoil another device's record.
    device_id = getattr(request.state, "device_id", "")
    _count(request, device_id, error)
    headers = {"Content-Range": f"bytes */{error.facts['size']}"} if error.code == "range.not_satisfiable" else None
    return _problem(request, _STATUS_OF_CODE.get(error.code, status), error.code, error.message, headers)


def _count(request: Request, device_id: str, error: ShoalError) -> None:
    try:
        with _parts(request).database.transaction() as session:
            observe.count_refusal(session, door="http", device_id=device_id, code=error.code, message=error.message)
    except OperationalError:
        _log.exception("a refusal with the code %s could not be counted", error.code)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "request.no_such_path", 405: "request.wrong_method"}
    return _problem(request, error.status_code, codes.get(error.status_code, "request.invalid"), str(error.detail))


def _gone(request: Request, _error: Exception) -> Response:
    return _problem(request, 400, "request.broken_off", "The sender broke the request off.")


def _no_database(request: Request, error: Exception) -> Response:
    _log.error("the database failed: %s", error.__cause__ or error)
    return _problem(request, 503, "database.unavailable", "The controller's database does not answer; try again.")


def _failed(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    observe.FAILURES.labels(loop="device_door").inc()
    return _problem(request, 500, "internal", "The controller failed here.")
