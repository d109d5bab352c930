"""`shoal tokens`, `shoal login`, `shoal logout`: who we are to the controller."""

import platform
import sys
from typing import Annotated, Final

import typer

from shoal.cli import figures, session
from shoal.cli.options import Json
from shoal.cli.output import Column, show_done, show_page
from shoal.cli.session import Login, connect
from shoal.client import ApiError, Client
from shoal.schemas.auth import Token
from shoal.schemas.common import Page

app = typer.Typer(no_args_is_help=True, help="One's own bearer tokens.")

_COLUMNS: Final = (
    Column[Token](title="Token", of=lambda token: token.id),
    Column[Token](title="Name", of=lambda token: token.name, is_long=True),
    Column[Token](title="Created", of=lambda token: token.created_at),
    Column[Token](title="Expires", of=lambda token: token.expires_at),
)


@app.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List one's own tokens, newest first; never their secrets."""
    with connect() as client:
        page = Page(items=list(client.tokens.every()))
    show_page(page, _COLUMNS, empty="No tokens.", as_json=as_json)


@app.command()
def delete(token_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Let a token open nothing from now on."""
    with connect() as client:
        client.tokens.delete(token_id)
    show_done(f"Token {token_id} opens nothing any more.", {"id": token_id, "state": "deleted"}, as_json=as_json)


def login(
    username: Annotated[str, typer.Option("--username", help="Who.")] = "admin",
    expires_in_s: Annotated[int, typer.Option("--expires-in-s", min=60, help="Seconds for which it is good.")] = 43_200,
    as_json: Json = False,
) -> None:
    """Exchange a password for a token, and keep that for the next commands.

    The password is asked for, or read from the first line of standard input where that is no terminal.
    """
    where = session.url()
    if sys.stdin.isatty():
        password = typer.prompt(f"Password of {username} at {where}", hide_input=True, err=True)
    else:
        password = sys.stdin.readline(1025).rstrip("\r\n")
    with Client(where) as client:
        answer = client.tokens.create(username, password, name=f"shoal on {platform.node()}", expires_in_s=expires_in_s)
    kept = Login(id=answer.id, token=answer.token, username=answer.username)
    path = session.write_logins({**session.read_logins(), where: kept})
    document = {
        "url": where,
        "username": answer.username,
        "role": answer.role,
        "token_id": answer.id,
        "expires_at": None if answer.expires_at is None else answer.expires_at.isoformat(),
        "file": str(path),
    }
    until = f", for {figures.text(answer.expires_at).removeprefix('in ')}" if answer.expires_at else ""
    show_done(
        f"Logged in to {where} as {answer.username}{until}. The token is kept in {path}.", document, as_json=as_json
    )


def logout(as_json: Json = False) -> None:
    """Make the kept token useless, and forget it."""
    where = session.url()
    logins = session.read_logins()
    kept = logins.pop(where, None)
    if kept is None:
        show_done(f"Nobody was logged in to {where}.", {"url": where, "state": "logged_out"}, as_json=as_json)
        return
    with Client(where, kept.token) as client:
        try:
            client.tokens.delete(kept.id)
        except ApiError as error:
            if error.status not in (401, 404):  # it is useless already
                raise
    session.write_logins(logins)
    show_done(f"Logged out of {where}.", {"url": where, "state": "logged_out"}, as_json=as_json)
