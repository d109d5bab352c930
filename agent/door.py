"""The controller's HTTPS door as the device uses it: enrol, renew, fetch, upload. Blocking; callers use worker threads.

The HTTP client is imported at its first use: it takes 5 MB, and an idle agent has nothing to fetch.

The CA is pinned: an enrolment token ends with the digest of the CA's certificate, which is compared before anything is
sent. After enrolment the kept CA is trusted and no other.
"""

import asyncio
import hashlib
import logging
import random
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from agent import stores
from agent.errors import AgentError
from agent.identity import Identity, first_of, trust
from agent.stores import SYSTEM_TRUST, Trust
from shoal.wire.devices import EnrollAnswer, EnrollPending, EnrollRequest, Facts, Problem, RenewRequest

if TYPE_CHECKING:
    import urllib3
    from tenacity import RetryCallState

T = TypeVar("T")
_log: Final = logging.getLogger(__name__)
CHUNK_BYTES: Final = 256 * 1024
_CONNECT_S: Final = 10
_READ_S: Final = 60
_MAX_ANSWER_BYTES: Final = 64 * 1024
_LONGEST_PAUSE_S: Final = 60.0
_PASSING: Final = frozenset(
    {
        "controller.unreachable",
        "controller.bad_answer",
        "database.unavailable",
        "clock.wrong",
        "request.clock_skew",
        "request.too_slow",
    }
)
_REDIRECT: Final = 307
_CANNOT_HELP: Final = frozenset({400, 403, 409, 413, 422})


class Pending(AgentError):
    """An operator has to decide; asked again after `retry_after_s`."""

    def __init__(self, answer: EnrollPending) -> None:
        super().__init__(answer.code, f"{answer.message} This machine is {answer.device_id}.")
        self.retry_after_s = answer.retry_after_s


class Door:
    """The door of one controller.

    Args:
        store_trust: In the object stores to which the controller may send us.
    """

    def __init__(self, identity: Identity, store_trust: Trust = SYSTEM_TRUST) -> None:
        self._identity = identity
        self._store_trust = store_trust
        self._url = identity.known().controller_url
        self._pool = _pool(trust(identity.ca()))

    def renew(self) -> None:
        """Get a fresh certificate for the same key, and keep it; works after the old one has ended, too.

        Raises:
            AgentError: `controller.unreachable`, or the controller's own code: `device.suspended`.
        """
        path = "/device/v1/renew"
        headers = {**self._identity.sign_request("POST", path, int(time.time())), "Content-Type": "application/json"}
        body = msgspec.json.encode(RenewRequest(csr=self._identity.certificate_request()))
        with _reaching(self._url):
            response = self._pool.request("POST", self._url + path, headers=headers, body=body)
        if response.status != 200:
            raise _refusal(response.status, response.data)
        self._identity.keep(_parse(response.data, EnrollAnswer), self._url)

    @contextmanager
    def blob(self, sha256: str, start: int) -> Iterator[Iterator[bytes]]:
        """Open an artifact's bytes from `start` on, at the controller or where it sends us.

        Raises:
            AgentError: `controller.unreachable`, or the controller's own code.
        """
        with _reaching(self._url):
            response = self._ask_for_blob(sha256, start, may_redirect=True)
            if response.status == _REDIRECT:
                link = response.headers.get("Location", "")
                response.close()
                # A link that leads nowhere is no dead end: the controller then gives the bytes itself.
                found = stores.follow(link, start, self._store_trust)
                response = self._ask_for_blob(sha256, start, may_redirect=False) if found is None else found
            try:
                if response.status not in (200, 206) or (start and response.status == 200):
                    raise _refusal(response.status, response.read(_MAX_ANSWER_BYTES))
                yield response.stream(CHUNK_BYTES)
            finally:
                response.close()

    def _ask_for_blob(self, sha256: str, start: int, *, may_redirect: bool) -> "urllib3.BaseHTTPResponse":
        path = f"/device/v1/blobs/{sha256}"
        headers = {**self._identity.sign_request("GET", path, int(time.time())), "Range": f"bytes={start}-"}
        if may_redirect:  # said, as a client that follows by itself would show its signature there
            headers["Shoal-Redirect"] = "yes"
        return self._pool.request("GET", self._url + path, headers=headers, preload_content=False, redirect=False)

    def upload(self, path: Path, sha256: str) -> None:
        """Send a file, named by its digest; sending it again changes nothing.

        Raises:
            AgentError: `controller.unreachable`, or the controller's own code.
        """
        target = f"/device/v1/blobs/{sha256}"
        headers = self._identity.sign_request("PUT", target, int(time.time()))
        headers["Content-Length"] = str(path.stat().st_size)
        with _reaching(self._url), path.open("rb") as file:
            response = self._pool.request("PUT", self._url + target, headers=headers, body=file)
            if response.status != 201:
                raise _refusal(response.status, response.data)


async def patiently(work: Callable[..., T], *arguments: Any, on_wait: Callable[[str], None] = lambda _why: None) -> T:
    """Do blocking work at the door in a worker thread, again and again while the controller is only unreachable.

    Args:
        on_wait: Told why it has to be tried again.

    Raises:
        AgentError: What trying again does not mend.
    """

    from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

    backoff = wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE_S)

    def pause_s(state: "RetryCallState") -> float:
        error = None if state.outcome is None else state.outcome.exception()
        if isinstance(error, Pending):
            return error.retry_after_s * random.uniform(0.75, 1.25)  # noqa: S311 (jitter, no secret)
        return backoff(state)

    def say_why(state: "RetryCallState") -> None:
        if state.outcome is not None and state.next_action is not None:
            error = state.outcome.exception()
            on_wait(str(error))
            _log.warning("%s; trying again in %.1f s", error, state.next_action.sleep)

    async for attempt in AsyncRetrying(
        retry=retry_if_exception(_is_passing),
        wait=pause_s,
        before_sleep=say_why,
    ):
        with attempt:
            return await asyncio.to_thread(work, *arguments)
    raise AssertionError("the attempts never end without a result or an error")


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, Pending) or (isinstance(error, AgentError) and error.code in _PASSING)


def enroll(identity: Identity, *, controller_url: str, token: str, facts: Facts) -> None:
    """Ask for an identity, and keep the answer. Asking again with the same key gives the same device.

    Raises:
        Pending: An operator has to approve the machine.
        AgentError: `token.malformed`, `ca.not_pinned`, `controller.unreachable`, or the controller's own code.
    """
    ca = _pinned_ca(controller_url, token)
    request = EnrollRequest(token=token, csr=identity.certificate_request(), facts=facts)
    with _reaching(controller_url), _pool(trust(ca)) as pool:
        response = pool.request(
            "POST",
            f"{controller_url}/device/v1/enroll",
            body=msgspec.json.encode(request),
            headers={"Content-Type": "application/json"},
        )
    if response.status == 202:
        raise Pending(_parse(response.data, EnrollPending))
    if response.status != 200:
        raise _refusal(response.status, response.data)
    answer = _parse(response.data, EnrollAnswer)
    if answer.ca != ca:
        raise AgentError("ca.not_pinned", "The controller answered with another CA than the token's.", is_final=True)
    identity.keep(answer, controller_url)


def _pinned_ca(controller_url: str, token: str) -> str:
    """Fetch the CA's certificate and compare it with the token's digest; nothing secret is sent before."""
    wanted = token.partition(".")[2]
    parts = urlsplit(controller_url)
    if len(wanted) != 64 or parts.scheme != "https" or not parts.hostname:
        message = "An enrolment token is <secret>.<digest of the CA>, and the controller's URL https://host:port."
        raise AgentError("token.malformed", message, is_final=True)
    import urllib3

    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default one would load the system's 140 CAs: 4 MB
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    with _reaching(controller_url), warnings.catch_warnings(), _pool(unverified) as pool:
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)  # the digest is what verifies
        response = pool.request("GET", f"{controller_url}/device/v1/ca", preload_content=False)
        pem = response.read(_MAX_ANSWER_BYTES).decode(errors="replace")
        response.close()
    try:
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first_of(pem))).hexdigest()
    except ValueError as error:
        raise AgentError("controller.bad_answer", "What answers there is no Shoal controller.") from error
    if digest != wanted:
        raise AgentError(
            "ca.not_pinned", "The controller there is not the one that made the token (its CA differs).", is_final=True
        )
    return pem


def _pool(context: ssl.SSLContext) -> "urllib3.PoolManager":
    import urllib3

    timeout = urllib3.Timeout(connect=_CONNECT_S, read=_READ_S)
    return urllib3.PoolManager(ssl_context=context, timeout=timeout, retries=False, maxsize=2)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    import urllib3

    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if (wrong := clock_problem(error)) is not None:
            raise wrong from error
        raise AgentError("controller.unreachable", f"The controller at {url} does not answer: {error}") from error


def clock_problem(error: BaseException) -> AgentError | None:
    """Tell whether a TLS failure comes from this device's clock: it shows a time before the agent was installed."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        reason = getattr(cause, "reason", None)
        cause = reason if isinstance(reason, BaseException) else cause.__cause__ or cause.__context__
    if cause is None or time.time() >= Path(__file__).stat().st_mtime:
        return None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    message = f"This device's clock says {now}, which is before its agent was installed: set it (NTP, a battery)."
    return AgentError("clock.wrong", message)


def _parse(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise AgentError("controller.bad_answer", f"The controller's answer does not parse: {error}") from error


def _refusal(status: int, body: bytes) -> AgentError:
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(code="controller.bad_answer", detail=f"The controller answered {status}.")
    return AgentError(problem.code, problem.detail or problem.title, is_final=status in _CANNOT_HELP)
