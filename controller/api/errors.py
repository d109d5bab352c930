"""Turns every refusal into an RFC 9457 problem with a `code` and the request's id. The only place that does so here."""

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from controller import observe
from controller.auth.service import NotLoggedIn
from controller.errors import Conflict, Forbidden, Invalid, NotFound, ShoalError, Unavailable

_log: Final = logging.getLogger(__name__)
# The first that fits counts.
_STATUSES: Final[tuple[tuple[type[ShoalError], int], ...]] = (
    (NotLoggedIn, 401),
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (Forbidden, 403),
    (Unavailable, 503),
)
_STATUS_OF_CODE: Final = {"range.not_satisfiable": 416, "request.too_large": 413, "artifact.too_large": 413}
_TITLES: Final = {
    400: "Bad request",
    401: "Not logged in",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Invalid",
    500: "Internal error",
    503: "Unavailable",
}


def install(app: FastAPI) -> None:
    """Make an application answer with problems."""
    app.add_exception_handler(ShoalError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(DataError, _not_storable)
    app.add_exception_handler(Exception, _failed)


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    facts: dict[str, Any] | None = None,
) -> JSONResponse:
    """Give a problem body; counted as a refusal of this door."""
    observe.REFUSED.labels(door="api", code=code).inc()
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if code == "range.not_satisfiable":
        headers["Content-Range"] = f"bytes */{(facts or {}).get('size', '*')}"
    body = {
        **(facts or {}),
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": getattr(request.state, "request_id", ""),
        "errors": errors or [],
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ShoalError)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    facts = {name: value for name, value in error.facts.items() if name != "errors"}
    return problem(
        request,
        _STATUS_OF_CODE.get(error.code, status),
        error.code,
        error.message,
        errors=error.facts.get("errors"),
        facts=facts,
    )


def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # What was sent is not repeated: it may be a password.
    errors = [
        {"field": ".".join(str(part) for part in found["loc"]), "code": found["type"], "message": found["msg"]}
        for found in error.errors()[:20]
    ]
    where = "; ".join(f"{found['field']}: {found['message']}" for found in errors[:3])
    return problem(request, 422, "request.invalid", f"The request is not as it should be: {where}.", errors=errors)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ShoalError):  # FastAPI wraps what is raised while it reads a body
        return _refused(request, error.__cause__)
    codes = {404: "request.no_such_path", 405: "request.wrong_method"}
    return problem(request, error.status_code, codes.get(error.status_code, "request.invalid"), str(error.detail))


def _gone(request: Request, _error: Exception) -> JSONResponse:
    return problem(request, 400, "request.broken_off", "The sender broke the request off.")


def _no_database(request: Request, error: Exception) -> JSONResponse:
    _log.error("the database failed: %s", error.__cause__ or error)
    return problem(request, 503, "database.unavailable", "The database does not answer or its disk is full; try again.")


def _not_storable(request: Request, _error: Exception) -> JSONResponse:
    # A value that no database takes, e.g. a NUL in an id.
    return _refused(request, Invalid("request.not_storable", "The database cannot keep what this request says."))


def _failed(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    observe.FAILURES.labels(loop="api").inc()
    return problem(request, 500, "internal", "The controller failed here; its log has the request's id.")
