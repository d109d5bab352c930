"""One open page: asks the controller off the event loop, shows it live, and says in words what went wrong.

Invariants: a page's data is asked for by one timer, never twice at once; a refusal or a silent controller never ends
the page, the next success takes the banner away; a session that ended leads to the login.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from nicegui import run, ui

from dashboard.components.layout import Frame
from dashboard.sessions import Session, Sessions
from shoal.client import ApiError, Client, Unreachable

T = TypeVar("T")
EVERY_S: Final = 2.0
_SLOW_S: Final = 6.0  # a controller that hangs refuses nothing: after this the page says so, and goes on waiting


class Ended(Exception):
    """The person is not logged in any more."""


class Page:
    """What a page's code gets.

    Attributes:
        frame: The page around it.
        query: What stands behind the `?` of its address.
    """

    def __init__(self, *, session: Session, sessions: Sessions, frame: Frame, path: str, query: dict[str, str]) -> None:
        self._session = session
        self._sessions = sessions
        self._path = path
        self.frame = frame
        self.query = query

    @property
    def api_url(self) -> str:
        """The controller's address."""
        return self._session.client.url

    def live(self, load: Callable[[Client], T], show: Callable[[T], None], *, every_s: float = EVERY_S) -> "Live[T]":
        """Load a page's data now and each few seconds, and show it. Once a page."""
        return Live(self, load, show, every_s)

    async def ask(self, call: Callable[[Client], T]) -> T:
        """Ask the controller, off the event loop.

        Raises:
            ApiError, Unreachable.
            Ended: The session is over.
        """
        if not self._session.is_open:
            raise Ended
        try:
            # In a tuple, since NiceGUI gives None where it is stopping.
            answer = await run.io_bound(lambda: (call(self._session.client),))
        except ApiError as error:
            if error.status == 401:
                self._sessions.end(self._session)
                raise Ended from error
            raise
        if answer is None:
            raise asyncio.CancelledError
        return answer[0]

    async def act(
        self, call: Callable[[Client], T], then: Callable[[T], None], refused: Callable[[str], None] | None = None
    ) -> None:
        """Change something; a refusal is said in words where `refused` shows it, by itself as a notification."""
        tell = refused or (lambda words: ui.notify(words, type="negative", multi_line=True, close_button=True))
        try:
            then(await self.ask(call))
        except Ended:
            self.to_login()
        except (ApiError, Unreachable) as error:
            tell(str(error))

    async def log_out(self) -> None:
        """End the session here and its token at the controller."""

        def delete(client: Client) -> None:
            client.tokens.delete(self._session.token_id)

        with suppress(ApiError, Unreachable, Ended):  # the token then ends by its own age; here it is forgotten anyway
            await self.ask(delete)
        self._sessions.end(self._session)
        ui.navigate.to("/login?reason=logged_out")

    def to_login(self) -> None:
        """Lead to the login, and from there back here."""
        ui.navigate.to(f"/login?reason=ended&next={quote(self._path, safe='/')}")


class Live(Generic[T]):
    """A page's data, asked for again and again."""

    def __init__(self, page: Page, load: Callable[[Client], T], show: Callable[[T], None], every_s: float) -> None:
        self._page = page
        self._load = load
        self._show = show
        self._every_s = every_s
        self._lock = asyncio.Lock()
        self._asked = 0
        self._was_shown = False
        self._timer = ui.timer(every_s, self._look)

    async def refresh(self) -> None:
        """Load and show now, as after a change; what is being loaded already is of before, and not shown."""
        self._asked += 1
        await self._look()

    async def _look(self) -> None:
        frame = self._page.frame
        async with self._lock:
            asked = self._asked
            try:
                data = await self._patiently()
            except Ended:
                self._timer.deactivate()
                self._page.to_login()
            except Unreachable:
                frame.warn(f"The controller at {self._page.api_url} does not answer. {self._again()}")
            except ApiError as error:
                if error.status == 404 and not self._was_shown:
                    self._timer.deactivate()
                    frame.missing(str(error))
                else:
                    frame.warn(f"{error} {self._again()}")
            else:
                if asked != self._asked:
                    return  # somebody went on meanwhile, and waits for another page of a list, say
                frame.calm()
                self._was_shown = True
                self._show(data)

    async def _patiently(self) -> T:
        asked = asyncio.ensure_future(self._page.ask(self._load))
        done, _ = await asyncio.wait({asked}, timeout=_SLOW_S)
        if not done:
            self._page.frame.warn(f"The controller at {self._page.api_url} has not answered for {_SLOW_S:.0f} s.")
        return await asked

    def _again(self) -> str:
        return f"Trying again every {self._every_s:.0f} s."
