"""Who gets in: asked over ASGI, without a browser and without a controller."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dashboard.app import Door
from dashboard.pages.login import local_path
from dashboard.sessions import Sessions
from shoal.client import Client
from shoal.schemas.auth import LoginAnswer

COOKIE = "shoal_session_1"


def show(_: Request) -> PlainTextResponse:
    return PlainTextResponse("shown")


def ask(sessions: Sessions, path: str, secret: str = "") -> httpx.Response:
    inner = Starlette(routes=[Route(name, show) for name in ("/", "/devices", "/login", "/_nicegui/3/x.js")])

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(Door(inner, sessions=sessions, cookie=COOKIE))
        async with httpx.AsyncClient(transport=transport, base_url="http://dashboard") as client:
            return await client.get(path, headers={"Cookie": f"{COOKIE}={secret}"})

    return asyncio.run(get())


def begin(sessions: Sessions) -> str:
    ends = datetime.now(UTC) + timedelta(hours=1)
    login = LoginAnswer(id="t-1", token="secret", username="ada", role="admin", expires_at=ends)
    return sessions.begin(Client("http://127.0.0.1:1", "secret"), login)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/", "/login"),
        ("/devices?q=a&online=b", "/login?next=/devices%3Fq%3Da%26online%3Db"),
        ("/nowhere", "/login?next=/nowhere"),
    ],
)
@pytest.mark.parametrize("secret", ["", "nonsense"])
def test_page_when_nobody_is_logged_in_then_leads_to_the_login(path: str, leads_to: str, secret: str) -> None:
    answer = ask(Sessions(), path, secret)
    assert (answer.status_code, answer.headers["location"], answer.text) == (303, leads_to, "")


@pytest.mark.parametrize("path", ["/login", "/_nicegui/3/x.js"])
def test_login_and_scripts_when_nobody_is_logged_in_then_are_given(path: str) -> None:
    assert ask(Sessions(), path).text == "shown"


def test_page_when_logged_in_then_is_given_and_cannot_be_framed() -> None:
    sessions = Sessions()
    answer = ask(sessions, "/devices", begin(sessions))
    assert (answer.text, answer.headers["x-frame-options"]) == ("shown", "DENY")


@pytest.mark.parametrize(
    "wanted", ["", "devices", "//evil.example", "/\\evil.example", "https://evil.example", "/a\nb"]
)
def test_login_when_it_shall_lead_elsewhere_then_leads_to_the_fleet(wanted: str) -> None:
    assert local_path(wanted) == "/"
