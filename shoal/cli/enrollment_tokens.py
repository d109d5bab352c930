"""`shoal enrollment-tokens`: what lets devices in."""

import shlex
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from shoal.cli.options import Cursor, Every, Json, Limit, Paging, parse_labels
from shoal.cli.output import Column, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.devices import EnrollmentToken, EnrollmentTokenRequest

app = typer.Typer(no_args_is_help=True, help="What lets devices in.")

_COLUMNS: Final = (
    Column[EnrollmentToken](title="Token", of=lambda token: token.id),
    Column[EnrollmentToken](title="Name", of=lambda token: token.name, is_long=True),
    Column[EnrollmentToken](title="State", of=lambda token: _state(token)),
    Column[EnrollmentToken](
        title="Approval", of=lambda token: "by an operator" if token.needs_approval else None, is_optional=True
    ),
    Column[EnrollmentToken](title="Uses", of=lambda token: f"{token.uses} of {token.max_uses}", is_number=True),
    Column[EnrollmentToken](title="Labels", of=lambda token: token.labels, is_long=True),
    Column[EnrollmentToken](title="Expires", of=lambda token: token.expires_at),
)


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="A label of whoever enrols with it; may be repeated."),
    ] = None,
    max_uses: Annotated[int, typer.Option("--max-uses", min=1, help="How many devices may enrol with it.")] = 1,
    expires_in_s: Annotated[int, typer.Option("--expires-in-s", min=60, help="Seconds for which it is good.")] = 86400,
    needs_approval: Annotated[
        bool, typer.Option("--needs-approval", help="Whoever enrols with it waits until an operator approves it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a token; it is shown this once."""
    request = EnrollmentTokenRequest(
        name=name,
        labels=parse_labels(label),
        needs_approval=needs_approval,
        max_uses=max_uses,
        expires_in_s=expires_in_s,
    )
    with connect() as client:
        made = client.enrollment_tokens.create(request)
    facts = {
        "Id": made.id,
        "Good for": f"{made.max_uses} device{'s' if made.max_uses > 1 else ''}",
        "Expires": made.expires_at,
        "Labels": made.labels,
        "Approval": "by `shoal devices approve`, for each device" if made.needs_approval else "not needed",
    }
    url, token = shlex.quote(made.device_url), shlex.quote(made.token)
    to_copy = (
        "",
        "On the device, as a service that starts with it:",
        f"  echo {token} > token",
        f"  sudo shoal-agent install --controller-url {url} --token-file token",
        "Or only now:",
        f"  export SHOAL_AGENT_CONTROLLER_URL={url}",
        f"  export SHOAL_AGENT_TOKEN={token}",
        "  shoal-agent run",
    )
    show_item(made, facts, to_copy=to_copy, as_json=as_json)


@app.command("list")
def list_tokens(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List tokens, newest first; never their secrets."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.enrollment_tokens.list(limit=limit, cursor=cursor)
        )
    empty = "No enrolment tokens yet: make one with `shoal enrollment-tokens create`."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def revoke(token_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Let a token enrol nobody from now on."""
    with connect() as client:
        client.enrollment_tokens.revoke(token_id)
    show_done(f"Token {token_id} enrols nobody any more.", {"id": token_id, "state": "revoked"}, as_json=as_json)


def _state(token: EnrollmentToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at <= datetime.now(UTC):
        return "expired"
    return "used up" if token.uses >= token.max_uses else "active"
