"""HTTP to the controller: bearer token, problems as exceptions, reading tried again where nobody answered."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from shoal.schemas.common import Page

Body = TypeVar("Body", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)
_TIMEOUT: Final = httpx.Timeout(30, connect=5)
_LONG: Final = httpx.Timeout(600, connect=5)  # for what goes through gigabytes before it answers
# Below the server's 5 s, so that no request is sent on a connection which the server is just closing.
_LIMITS: Final = httpx.Limits(keepalive_expiry=2)
_ATTEMPTS: Final = 3
_PAGE: Final = 200


class ApiError(Exception):
    """The API refused a request.

    Attributes:
        status: The HTTP status.
        code: Stable and dotted: `rollout.no_variants`; `http.<status>` where the answer was no problem body.
        request_id: What the controller's log knows the request by.
        errors: The fields that are wrong, each `{field, code, message}`; of a selector also `column`, `length` and
            `suggestion`.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str, errors: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.errors = errors


class Unreachable(Exception):
    """Nobody answers at the controller's address."""


class Connection:
    """A connection to one controller."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # trust_env is off: a proxy from the environment would get the token.
        self._http = httpx.Client(
            base_url=f"{self.url}/v1", headers=headers, timeout=_TIMEOUT, limits=_LIMITS, trust_env=False
        )

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def get(self, path: str, answer: type[Body], query: Mapping[str, Any] | None = None) -> Body:
        """Read something; tried again where nobody answered.

        Raises:
            ApiError, Unreachable.
        """
        return _parse(self._read(path, query), answer)

    def get_text(self, path: str) -> str:
        """Read something that is no JSON; see `get`."""
        return self._read(path, None).text

    def stream(self, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """Read something large, piece by piece.

        Raises:
            ApiError, Unreachable: When the first piece is wanted, or where the answer breaks off.
        """
        try:
            with self._http.stream("GET", path, params=_wanted(query)) as response:
                if response.is_error:
                    response.read()
                    raise _problem(response)
                yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def page(
        self, path: str, item: type[Item], query: Mapping[str, Any] | None = None, *, limit: int, cursor: str | None
    ) -> Page[Item]:
        """Read one page of a list; see `get`."""
        wanted = {**(query or {}), "limit": limit, "cursor": cursor}
        return _parse(self._read(path, wanted), Page[item])  # type: ignore[valid-type]

    def every(self, path: str, item: type[Item], query: Mapping[str, Any] | None = None) -> Iterator[Item]:
        """Give all items of a list, reading page after page as they are wanted; see `get`."""
        cursor: str | None = None
        while True:
            page = self.page(path, item, query, limit=_PAGE, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def send(
        self, method: str, path: str, answer: type[Body], body: BaseModel | None = None, *, is_long: bool = False
    ) -> Body:
        """Change something; sent once.

        Args:
            is_long: It may take minutes.

        Raises:
            ApiError, Unreachable.
        """
        content = None if body is None else body.model_dump_json()
        headers = {"Content-Type": "application/json"} if content is not None else {}
        timeout = _LONG if is_long else _TIMEOUT
        return _parse(self._once(method, path, content=content, headers=headers, timeout=timeout), answer)

    def send_bytes(
        self, path: str, answer: type[Body], content: bytes | Iterator[bytes], headers: dict[str, str]
    ) -> Body:
        """Upload raw bytes; see `send`."""
        return _parse(self._once("POST", path, content=content, headers=headers, timeout=_LONG), answer)

    def delete(self, path: str) -> None:
        """Delete something; see `send`."""
        self._once("DELETE", path)

    def _read(self, path: str, query: Mapping[str, Any] | None) -> httpx.Response:
        for attempt in Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        ):
            with attempt:
                return self._once("GET", path, params=_wanted(query or {}))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _problem(response)
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(f"The controller at {self.url} does not answer ({error}): is it running?")


def _wanted(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value not in (None, "", [])}


def _parse(response: httpx.Response, answer: type[Body]) -> Body:
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        message = f"The answer is not one of this version's API: {error.error_count()} fields differ."
        raise ApiError(response.status_code, "client.bad_answer", message, "", []) from error


def _problem(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    status = response.status_code
    code = str(body.get("code") or f"http.{status}")
    message = str(body.get("detail") or body.get("title") or f"The controller answered {status}.")
    return ApiError(status, code, message, str(body.get("request_id", "")), list(body.get("errors") or []))
