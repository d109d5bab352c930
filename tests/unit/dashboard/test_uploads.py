"""Files from the browser, where they are refused: asked over ASGI, with a controller that does not answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard import uploads
from dashboard.sessions import Session, Sessions
from shoal.client import Client
from shoal.schemas.auth import LoginAnswer

MOST = 100
PLAIN = {"content-type": "application/octet-stream"}


@pytest.fixture
def session() -> Session:
    ends = datetime.now(UTC) + timedelta(hours=1)
    login = LoginAnswer(id="t-1", token="secret", username="ada", role="admin", expires_at=ends)
    sessions = Sessions()
    found = sessions.of(sessions.begin(Client("http://127.0.0.1:1", "secret"), login))
    assert found is not None
    return found


def send(session: Session, headers: dict[str, str], pieces: list[bytes]) -> httpx.Response:
    async def take(request: Request) -> Response:
        return await uploads.artifact(session, request, MOST)

    async def post() -> httpx.Response:
        async def content() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        application = Starlette(routes=[Route("/artifacts", take, methods=["POST"])])
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://dashboard") as client:
            return await client.post("/artifacts", headers=headers, content=content())

    return asyncio.run(post())


@pytest.mark.parametrize(
    "headers", [{**PLAIN, "origin": "http://evil.example"}, {"content-type": "multipart/form-data"}, {}]
)
def test_file_when_another_site_could_have_sent_it_then_is_refused(session: Session, headers: dict[str, str]) -> None:
    assert send(session, headers, [b"a"]).status_code == 403


@pytest.mark.parametrize("said", [{}, {"content-length": "101"}])
def test_file_when_too_large_then_is_refused_whatever_was_said_of_it(session: Session, said: dict[str, str]) -> None:
    answer = send(session, {**PLAIN, **said}, [b"a" * 60, b"b" * 41])
    assert (answer.status_code, answer.json()["message"]) == (413, "At most 100 bytes are taken.")


def test_file_when_the_controller_does_not_answer_then_says_so(session: Session) -> None:
    answer = send(session, {**PLAIN, "origin": "http://dashboard"}, [b"a" * MOST])
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["message"]
