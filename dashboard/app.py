"""Composition: builds the pages, keeps out who is not logged in, and serves. The only place that connects the parts."""

import logging
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import quote, urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from nicegui import Client as Tab
from nicegui import app as nicegui_app
from nicegui import run, ui
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard import downloads, uploads
from dashboard.components.layout import Frame, empty
from dashboard.components.theme import HEAD
from dashboard.page import Page
from dashboard.pages import (
    activity,
    alerts,
    boards,
    datasets,
    device,
    devices,
    enrollment,
    executions,
    explain,
    federated,
    fleet,
    groups,
    incremental,
    job,
    jobs,
    lineage,
    login,
    model,
    model_fleet,
    models,
    rollouts,
)
from dashboard.sessions import Sessions
from dashboard.settings import Settings
from shoal.client import ApiError, Client, Unreachable

Builder = Callable[..., None]
PAGES: Final[tuple[tuple[str, str, Builder], ...]] = (
    ("/", "Fleet", fleet.overview),
    ("/devices", "Devices", devices.device_list),
    ("/devices/{device_id}", "Device", device.device),
    ("/groups", "Groups", groups.group_list),
    ("/groups/{name}", "Group", groups.group),
    ("/alerts", "Alerts", alerts.alerts),
    ("/models", "Models", models.model_list),
    ("/models/{name}", "Model", model.model),
    ("/models/{name}/lineage", "Lineage", lineage.lineage),
    ("/models/{name}/fleet", "Model in the fleet", model_fleet.model_fleet),
    ("/models/{name}/boards", "Boards", boards.model_boards),
    ("/datasets", "Data sets", datasets.dataset_list),
    ("/explain", "Explain", explain.explain),
    ("/rollouts", "Rollouts", rollouts.rollout_list),
    ("/rollouts/{rollout_id}", "Rollout", rollouts.rollout),
    ("/federated-runs", "Federated runs", federated.run_list),
    ("/federated-runs/{run_id}", "Federated run", federated.run),
    ("/incremental", "Learning alone", incremental.learning),
    ("/executions", "Executions", executions.executions),
    ("/jobs", "Jobs", jobs.job_list),
    ("/jobs/{job_id}", "Job", job.job),
    ("/enrollment-tokens", "Enrolment", enrollment.token_list),
    ("/activity", "Activity", activity.activity),
)
_OPEN_PATHS: Final = ("/login", "/_nicegui", "/favicon.ico")
_THREADS: Final = 32  # calls that wait for the controller at once; NiceGUI's own pool has a few a core
_MAX_LOGIN_BYTES: Final = 16 * 1024
_HEADERS: Final = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve the pages on a socket that listens, until the process is told to stop."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    run.thread_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="client")
    sessions = Sessions()
    application = build(settings, sessions)
    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=2)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn has handlers of its own, and raises the signal again when it has ended in good order.
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listener])


def build(settings: Settings, sessions: Sessions) -> FastAPI:
    """Build the application."""
    application = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    cookie = f"shoal_session_{settings.port}"  # browsers tell hosts apart, but not ports

    @application.post("/login")
    async def log_in(request: Request) -> Response:
        return await _log_in(request, settings, sessions, cookie)

    @application.get("/export/devices")
    async def export_devices(request: Request) -> Response:
        session = sessions.of(request.cookies.get(cookie))
        if session is None:  # ended since the door let it in
            return RedirectResponse("/login?reason=ended", 303)
        return await downloads.devices(session, request.query_params)

    @application.get("/executions/{execution_id}/log")
    async def export_log(request: Request, execution_id: str) -> Response:
        session = sessions.of(request.cookies.get(cookie))
        if session is None:  # as above
            return RedirectResponse("/login?reason=ended", 303)
        return await downloads.log(session, execution_id)

    @application.post("/artifacts")
    async def take_artifact(request: Request) -> Response:
        session = sessions.of(request.cookies.get(cookie))
        if session is None:  # as above
            return RedirectResponse("/login?reason=ended", 303)
        return await uploads.artifact(session, request)

    @ui.page("/login", title="Log in · Shoal")
    def show_login(reason: str = "", next: str = "/") -> None:
        login.login(settings.api_url, reason, login.local_path(next))

    for path, title, draw in PAGES:
        _add_page(path, title, draw, sessions, cookie)
    nicegui_app.exception_handler(404)(_not_found)
    ui.add_head_html(HEAD, shared=True)
    ui.run_with(
        application,
        title="Shoal",
        favicon="🐟",
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=30,
    )
    application.add_middleware(Door, sessions=sessions, cookie=cookie)
    return application


class Door:
    """An ASGI middleware: who is not logged in gets the login and nothing else; every answer gets safe headers."""

    def __init__(self, app: ASGIApp, sessions: Sessions, cookie: str) -> None:
        self._app = app
        self._sessions = sessions
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        request = Request(scope)
        is_open = scope["path"].startswith(_OPEN_PATHS)
        if is_open or self._sessions.of(request.cookies.get(self._cookie)) is not None:
            await self._app(scope, receive, guarded)
            return
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}"
        await RedirectResponse(target, 303)(scope, receive, guarded)


def _add_page(path: str, title: str, draw: Builder, sessions: Sessions, cookie: str) -> None:
    @ui.page(path, title=f"{title} · Shoal")
    def show(request: Request) -> RedirectResponse | None:
        session = sessions.of(request.cookies.get(cookie))
        if session is None:  # ended since the door let it in
            return RedirectResponse("/login?reason=ended", 303)

        async def log_out() -> None:
            await page.log_out()

        here = request.url.path
        frame = Frame(here=here, username=session.username, role=session.role, log_out=log_out)
        page = Page(session=session, sessions=sessions, frame=frame, path=here, query=dict(request.query_params))
        with frame.content():
            draw(page, **request.path_params)
        return None


def _not_found(request: Request, _error: Exception) -> Response:
    with Tab(ui.page(""), request=request) as tab, empty("There is no such page.", icon="search_off"):
        ui.link("To the fleet", "/")
    return tab.build_response(request, 404)


async def _log_in(request: Request, settings: Settings, sessions: Sessions, cookie: str) -> Response:
    """Exchange name and password for a session; the page `/login` says what went wrong."""
    # A form of another site must not log a visitor in as somebody else. Browsers send Origin with every POST.
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return _back_to_login("other_site", "/")
    if int(request.headers.get("content-length") or _MAX_LOGIN_BYTES + 1) > _MAX_LOGIN_BYTES:
        return _back_to_login("refused", "/")
    form = await request.form()
    given = {name: str(form.get(name) or "") for name in ("username", "password", "next")}
    wanted = login.local_path(given["next"])

    def exchange() -> str:
        with Client(settings.api_url) as anonymous:
            answer = anonymous.tokens.create(given["username"], given["password"], name="dashboard")
        return sessions.begin(Client(settings.api_url, answer.token), answer)

    try:
        secret = await run.io_bound(exchange)
    except Unreachable:
        return _back_to_login("unreachable", wanted)
    except ApiError as error:
        return _back_to_login("wrong_password" if error.code == "auth.wrong_password" else "refused", wanted)
    if secret is None:  # NiceGUI is stopping
        return _back_to_login("unreachable", wanted)
    answer = RedirectResponse(wanted, 303)
    is_secure = request.url.scheme == "https"
    answer.set_cookie(cookie, secret, httponly=True, samesite="lax", secure=is_secure)
    return answer


def _back_to_login(reason: str, wanted: str) -> Response:
    return RedirectResponse(f"/login?reason={reason}&next={quote(wanted, safe='/')}", 303)
