"""An HTTP server as a part of a process: its port is bound at once, it serves until it is told to stop.

A connection that says nothing is closed: nobody holds one by sending a header a minute (slow bodies are the doors' own
business).
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from controller.errors import Unavailable

GRACE_S: Final = 2  # for running requests; also for TLS clients that keep a connection open and do not answer its end
_HEADERS_S: Final = 15.0  # from the connection, or the end of the request before, to the whole of a request's headers


class _Impatient(HttpToolsProtocol):
    """Closes a connection whose next request does not have its headers in time."""

    _timer: asyncio.TimerHandle | None = None
    _is_body_open = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(_HEADERS_S, transport.close)

    def on_message_begin(self) -> None:
        # The first request of a connection is timed from its beginning, a later one from its first byte; between two
        # uvicorn's own keep-alive timer runs.
        if self._timer is None:
            self._timer = self.loop.call_later(_HEADERS_S, self.transport.close)
        self._is_body_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_body_open = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_body_open:  # nobody reads the rest: it is let through for a while, so that the answer is heard
            self._stop_timer()
            self._timer = self.loop.call_later(_HEADERS_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def serving(
    listening: socket.socket, app: ASGIApp, tls: ssl.SSLContext | None = None
) -> Callable[[threading.Event], None]:
    """Give what serves `app` on a socket until an event is set."""
    config = uvicorn.Config(
        app,
        http=_Impatient,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    server = uvicorn.Server(config)

    def serve(stop: threading.Event) -> None:
        def stop_server() -> None:
            stop.wait()
            server.should_exit = True

        threading.Thread(target=stop_server, name="stop of a server", daemon=True).start()
        server.run(sockets=[listening])

    return serve


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port.

    Raises:
        Unavailable: `port.in_use`, also for an address that is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise Unavailable(
            "port.in_use",
            f"Cannot listen on {host}:{port} ({error.strerror or error}); choose another port or address.",
        ) from error
    return listening
