"""The devices' door over HTTPS, `/device/v1`: the CA, enrolment, renewal, blobs in and out.

Blobs and renewal need a signed request: the device's key over method, path and time, because a TLS client certificate
does not get through every proxy. A signature is good for 300 s; within them it opens the same path again, which gives
only what the device may have anyway. Each refusal is a problem body, and is counted.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from anyio import CapacityLimiter, fail_after, from_thread, to_thread
from sqlalchemy.exc import DataError, OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from controller import observe
from controller.artifacts import service as artifacts
from controller.blobs import BlobStore, byte_range
from controller.db import Database, new_id, utc_now
from controller.devices import enrollment
from controller.devices.lifecycle import Act, DeviceState, require
from controller.devices.tables import DeviceRow
from controller.errors import Conflict, Forbidden, Invalid, NotFound, ShoalError, Unavailable
from controller.keys import Keys
from controller.settings import Settings
from shoal.wire import signing, topics
from shoal.wire.devices import EnrollPending, EnrollRequest, Problem, RenewRequest
from shoal.wire.errors import WireError

T = TypeVar("T")
MAX_CLOCK_SKEW_S: Final = 300
_MAX_BODY_BYTES: Final = 64 * 1024
_UPLOADS: Final = 64  # at once
_SILENCE_S: Final = 20.0  # between two pieces of an artifact, or for the whole of a small body
_LEAST_BYTES_PER_S: Final = 1024  # on the whole; a device on a 9,600 baud line is not served
_log: Final = logging.getLogger(__name__)


class TooSlow(Invalid):
    """The sender keeps a worker waiting."""


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
    "request.too_slow": 408,
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
            Route("/device/v1/renew", _renew, methods=["POST"]),
            Route("/device/v1/blobs/{sha256}", _get_blob, methods=["GET"]),
            Route("/device/v1/blobs/{sha256}", _put_blob, methods=["PUT"]),
        ],
        exception_handlers={
            ShoalError: _refused,
            HTTPException: _http,
            ClientDisconnect: _gone,
            TimeoutError: _too_slow,
            OperationalError: _no_database,
            DataError: _not_storable,
            Exception: _failed,
        },
    )
    door.state.parts = parts
    door.state.uploads = CapacityLimiter(_UPLOADS)
    return door


def _show_ca(request: Request) -> Response:
    # Not trusted by itself: the agent compares its digest with the one in its enrolment token.
    return Response(_parts(request).keys.ca_pem, media_type="application/x-pem-file")


async def _enroll(request: Request) -> Response:
    # Read before a worker thread is taken: whoever sends slowly holds none. Nobody has proven who he is here.
    wanted = await _read(request, EnrollRequest)
    return await run_in_threadpool(_enroll_now, _parts(request), wanted)


def _enroll_now(parts: Parts, wanted: EnrollRequest) -> Response:
    with parts.database.transaction() as session:
        answer = enrollment.enroll(session, parts.keys, parts.settings, wanted, utc_now())
    is_pending = isinstance(answer, EnrollPending)
    _log.info("%s %s", "pending:" if is_pending else "enrolled", answer.device_id)
    return Response(msgspec.json.encode(answer), 202 if is_pending else 200, media_type="application/json")


async def _renew(request: Request) -> Response:
    wanted = await _read(request, RenewRequest)
    return await run_in_threadpool(_renew_now, request, wanted)


def _renew_now(request: Request, wanted: RenewRequest) -> Response:
    parts = _parts(request)
    device_id = _check_signed(request, Act.RENEW)
    with parts.database.transaction() as session:
        answer = enrollment.renew(session, parts.keys, parts.settings, device_id, wanted, utc_now())
    _log.info("renewed the certificate of %s", device_id)
    return Response(msgspec.json.encode(answer), media_type="application/json")


async def _read(request: Request, kind: type[T]) -> T:
    body = bytearray()
    with fail_after(_SILENCE_S):
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise Invalid("request.too_large", f"The request has more than {_MAX_BODY_BYTES} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: 10,000 brackets
        raise Invalid("request.invalid", f"The request is not as it should be: {error}") from error


def _get_blob(request: Request) -> Response:
    parts = _parts(request)
    _check_signed(request, Act.BLOBS)
    sha256 = request.path_params["sha256"]
    size = parts.blobs.size(sha256)
    if request.headers.get("Shoal-Redirect") == "yes" and (link := parts.blobs.link(sha256)):
        return Response(status_code=307, headers={"Location": link, "Cache-Control": "no-store"})
    wanted = byte_range(request.headers.get("Range"), size)
    start, end = wanted or (0, size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes", "ETag": f'"{sha256}"'}
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        parts.blobs.stream(sha256, start, end), 206 if wanted else 200, headers, "application/octet-stream"
    )


async def _put_blob(request: Request) -> Response:
    # Uploads have workers of their own: slow ones hold up nobody else.
    return await to_thread.run_sync(_put_blob_now, request, limiter=request.app.state.uploads)


def _put_blob_now(request: Request) -> Response:
    parts = _parts(request)
    device_id = _check_signed(request, Act.BLOBS)
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


def _check_signed(request: Request, act: Act) -> str:
    """Give the id of the device that signed a request, if it may do this.

    Raises:
        NotSigned: `request.unsigned`, `request.clock_skew`, `device.unknown`, `signature.invalid`.
        Forbidden: `device.pending`, `device.suspended`, `device.retired`.
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
        public_key, state, reason = device.public_key, DeviceState(device.state), device.state_reason
    try:
        signing.verify(public_key, f"{request.method} {request.url.path} {at}", "", signature)
    except WireError as error:
        raise NotSigned(error.code, "The signature is not the device's over this method, path and time.") from error
    request.state.device_id = device_id
    require(state, act, reason)
    return device_id


def _body(request: Request, max_bytes: int) -> Iterator[bytes]:
    """Give a request's body as it comes, to an endpoint that runs in a worker thread.

    Raises:
        Invalid: `request.too_large`.
        TooSlow: `request.too_slow`: a trickle would hold a worker thread for ever.
    """
    stream = request.stream()

    async def next_chunk(within_s: float) -> bytes | None:
        with fail_after(within_s):
            return await anext(stream, None)

    taken = 0
    began = time.monotonic()
    while True:
        allowed_s = _SILENCE_S + taken / _LEAST_BYTES_PER_S - (time.monotonic() - began)
        try:
            chunk = from_thread.run(next_chunk, max(min(allowed_s, _SILENCE_S), 0.0))
        except TimeoutError as error:
            raise TooSlow("request.too_slow", f"Send at least {_LEAST_BYTES_PER_S} bytes a second.") from error
        if chunk is None:
            return
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


def _too_slow(request: Request, _error: Exception) -> Response:
    return _refused(request, TooSlow("request.too_slow", f"The request's body did not come within {_SILENCE_S:.0f} s."))


def _no_database(request: Request, error: Exception) -> Response:
    _log.error("the database failed: %s", error.__cause__ or error)
    return _problem(request, 503, "database.unavailable", "The controller's database does not answer; try again.")


def _not_storable(request: Request, _error: Exception) -> Response:
    return _refused(request, Invalid("request.not_storable", "The database cannot keep what this request says."))


def _failed(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    observe.FAILURES.labels(loop="device_door").inc()
    return _problem(request, 500, "internal", "The controller failed here.")
