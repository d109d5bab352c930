"""Around every request: an id for the log and the problem body, and a bound on what is read into memory."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.db import new_id
from controller.errors import Invalid

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
UNBOUNDED_PATHS: Final = frozenset({"/v1/artifacts"})  # streamed to the blob store, which has its own bound


class Requests:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        is_bounded = scope["path"] not in UNBOUNDED_PATHS
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if is_bounded and taken > MAX_BODY_BYTES:
                raise Invalid("request.too_large", f"A request has at most {MAX_BODY_BYTES} bytes.")
            return message

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, bounded, named)
