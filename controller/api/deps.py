"""What the endpoints get: the parts of this process, the transaction of the request, and who calls.

The transaction is committed before the answer is sent (scope `function`), so that an answer never promises what a
failed commit takes back. Who calls is read in a transaction of its own, so that a slow upload holds no lock.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

from anyio import from_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from controller.auth import service as auth
from controller.auth.permissions import Permission, require
from controller.auth.service import Caller, NotLoggedIn
from controller.blobs import BlobStore, UrlSigner
from controller.db import Database, utc_now
from controller.errors import Unavailable
from controller.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the composition root hands to the API."""

    settings: Settings
    database: Database
    blobs: BlobStore
    url_signer: UrlSigner
    ca_digest: str


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


def _writing(parts: PartsOf) -> Iterator[Session]:
    with parts.database.transaction() as session:
        yield session


Known = Annotated[Caller, Depends(_caller)]
Reader = Annotated[Caller, Depends(_allowed(Permission.READ))]
Changer = Annotated[Caller, Depends(_allowed(Permission.CHANGE))]
ProgramUploader = Annotated[Caller, Depends(_allowed(Permission.UPLOAD_PROGRAM))]
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]


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
