"""What the endpoints get: the parts of this process, the transaction of the request, and who calls.

The transaction is committed before the answer is sent (scope `function`), so that an answer never promises what a
failed commit takes back. Who calls is read in a transaction of its own, so that a slow upload holds no lock.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, Final

from anyio import Lock, from_thread
from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from controller.auth import service as auth
from controller.auth.permissions import Permission, require
from controller.auth.service import Caller, NotLoggedIn
from controller.blobs import BlobStore, UrlSigner
from controller.db import Database, utc_now
from controller.errors import Invalid, Unavailable
from controller.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the composition root hands to the API.

    Attributes:
        turn: Of the requests that write to SQLite.
    """

    settings: Settings
    database: Database
    blobs: BlobStore
    url_signer: UrlSigner
    ca_digest: str
    turn: Lock = field(default_factory=Lock)


def parts_of(request: Request) -> Parts:
    """Give the parts that this application was built with."""
    parts: Parts = request.app.state.parts
    return parts


PartsOf = Annotated[Parts, Depends(parts_of)]
_bearer: Final = HTTPBearer(auto_error=False)


def _caller(parts: PartsOf, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    if credentials is None:
        raise NotLoggedIn("auth.no_token", "Send a bearer token: POST /v1/tokens gives one for a password.")
    with parts.database.reading() as session:
        return auth.caller_of(session, credentials.credentials, utc_now())


def _allowed(permission: Permission) -> Callable[[Caller], Caller]:
    def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        require(caller.role, permission)
        return caller

    return check


def _reading(parts: PartsOf) -> Iterator[Session]:
    with parts.database.reading() as session:
        yield session


async def _turn(parts: PartsOf) -> AsyncIterator[None]:
    """Let requests that write to SQLite wait here: in threads, many of them would keep out the one whose turn it is."""
    if not parts.database.is_sqlite:
        yield
        return
    async with parts.turn:
        yield


def _writing(parts: PartsOf, _in_turn: Annotated[None, Depends(_turn, scope="function")]) -> Iterator[Session]:
    with parts.database.transaction() as session:
        yield session


Known = Annotated[Caller, Depends(_caller)]
Reader = Annotated[Caller, Depends(_allowed(Permission.READ))]
Changer = Annotated[Caller, Depends(_allowed(Permission.CHANGE))]
ProgramUploader = Annotated[Caller, Depends(_allowed(Permission.UPLOAD_PROGRAM))]
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]


async def refuse_unknown_parameters(request: Request) -> None:
    """Refuse a query that asks for what the endpoint does not know: a misspelt filter would give everything.

    Raises:
        Invalid: `request.unknown_parameter`, with `suggestion`.
    """
    if not request.query_params:
        return
    route: APIRoute = request.scope["route"]
    fields = get_flat_params(route.dependant)
    known = sorted(field.alias for field in fields if isinstance(field.field_info, Query))
    for name in request.query_params:
        if name not in known:
            like = get_close_matches(name[:64], known, n=1)
            there = f"there are {', '.join(known)}" if known else "there are none"
            message = f"This endpoint has no query parameter {name[:64]}; {there}."
            raise Invalid("request.unknown_parameter", message, suggestion=like[0] if like else None)


def body_chunks(request: Request) -> Iterator[bytes]:
    """Give a request's raw body as it comes, for an endpoint that runs in a worker thread."""
    stream = request.stream()

    async def next_chunk() -> bytes | None:
        return await anext(stream, None)

    while (chunk := from_thread.run(next_chunk)) is not None:
        yield chunk


def room(name: str) -> Any:
    """Give a room's service, loaded at its first request.

    Raises:
        Unavailable: `room.missing`, where this installation comes without it.
    """
    module = f"controller.{name}.service"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise Unavailable("room.missing", f"This controller comes without {name}.") from error
