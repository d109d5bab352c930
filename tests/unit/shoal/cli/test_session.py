"""A token is kept for its owner's eyes, and goes to no other address than the one that gave it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.cli import session
from shoal.cli.errors import CliError
from shoal.cli.session import Login

LOGIN = Login(id="1", token="secret", username="admin")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SHOAL_CONFIG", str(tmp_path / "config"))
    for name in ("SHOAL_URL", "SHOAL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "config"


def test_login_when_kept_then_only_its_owner_can_read_it() -> None:
    path = session.write_logins({"http://127.0.0.1:8080": LOGIN})
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert session.read_logins() == {"http://127.0.0.1:8080": LOGIN}


def test_login_when_the_address_is_another_then_its_token_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    session.write_logins({"http://127.0.0.1:8080": LOGIN})
    monkeypatch.setenv("SHOAL_URL", "http://elsewhere:8080")
    with pytest.raises(CliError, match="Not logged in to http://elsewhere:8080") as raised:
        session.connect()
    assert raised.value.code == "auth.not_logged_in"


def test_login_when_the_file_is_damaged_then_says_so(folder: Path) -> None:
    folder.mkdir()
    (folder / "logins.json").write_text('{"http://x": {"token": 1}}')
    with pytest.raises(CliError, match="is damaged"):
        session.read_logins()


@pytest.mark.parametrize("given", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_url_when_it_has_a_tail_then_is_the_same_controller(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_URL", given)
    assert session.url() == "http://h:1"


def test_url_when_it_has_no_scheme_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_URL", "controller:8080")
    with pytest.raises(CliError, match="begins with neither"):
        session.url()
