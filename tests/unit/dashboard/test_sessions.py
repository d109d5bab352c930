from datetime import UTC, datetime, timedelta

from dashboard.sessions import Sessions
from shoal.client import Client
from shoal.schemas.auth import LoginAnswer

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def login(name: str = "admin") -> LoginAnswer:
    return LoginAnswer(id="t-1", token="secret", username=name, role="admin", expires_at=NOW + timedelta(hours=12))


def begin(sessions: Sessions, name: str = "admin") -> str:
    return sessions.begin(Client("http://127.0.0.1:1", "secret"), login(name))


def test_session_when_begun_then_only_its_own_cookie_opens_it() -> None:
    sessions = Sessions(Clock())
    secret = begin(sessions)
    session = sessions.of(secret)
    assert session is not None
    assert (session.username, session.is_open) == ("admin", True)
    assert len(secret) >= 43
    assert [sessions.of(other) for other in (None, "", secret[:-1], "nonsense")] == [None] * 4


def test_session_when_its_token_expired_then_it_is_over() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    secret = begin(sessions)
    session = sessions.of(secret)
    clock.now += timedelta(hours=12)
    assert sessions.of(secret) is None
    assert session is not None
    assert not session.is_open


def test_session_when_ended_twice_then_stays_ended_and_others_stay_open() -> None:
    sessions = Sessions(Clock())
    first, second = begin(sessions, "ada"), begin(sessions, "bob")
    session = sessions.of(first)
    assert session is not None
    sessions.end(session)
    sessions.end(session)
    other = sessions.of(second)
    assert sessions.of(first) is None
    assert other is not None
    assert (session.is_open, other.is_open) == (False, True)


def test_sessions_when_there_are_too_many_then_the_one_used_longest_ago_ends() -> None:
    sessions = Sessions(Clock(), limit=2)
    first, second = begin(sessions, "ada"), begin(sessions, "bob")
    assert sessions.of(first) is not None
    third = begin(sessions, "eve")
    assert sessions.of(second) is None
    assert [found.username for found in map(sessions.of, (first, third)) if found] == ["ada", "eve"]


def test_sessions_when_kept_then_hold_neither_cookie_nor_password() -> None:
    sessions = Sessions(Clock())
    secret = begin(sessions)
    assert secret not in repr(vars(sessions))
