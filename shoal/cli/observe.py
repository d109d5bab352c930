"""`shoal events`, `shoal refusals`, `shoal audit`: what happened, who was refused, who changed what."""

from typing import Annotated, Final

import typer

from shoal.cli import figures
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_page
from shoal.cli.session import connect
from shoal.client.observe import Entry
from shoal.schemas.common import Page
from shoal.schemas.devices import Event, Refusal

events = typer.Typer(no_args_is_help=True, help="What happened.")
refusals = typer.Typer(no_args_is_help=True, help="Whom the controller refused, and why.")
audit = typer.Typer(no_args_is_help=True, help="Who changed what.")

EVENT_COLUMNS: Final = (
    Column[Event](title="When", of=lambda event: event.at),
    Column[Event](title="Event", of=lambda event: event.name),
    Column[Event](title="Subject", of=lambda event: event.subject, is_long=True),
    Column[Event](title="Data", of=lambda event: event.data, is_long=True),
)
_REFUSALS: Final = (
    Column[Refusal](title="Last", of=lambda refusal: refusal.last_at),
    Column[Refusal](title="Device", of=lambda refusal: refusal.device_id),
    Column[Refusal](title="Code", of=lambda refusal: refusal.code, is_optional=True),
    Column[Refusal](title="Times", of=lambda refusal: refusal.count, is_number=True),
    Column[Refusal](title="Message", of=lambda refusal: refusal.message, is_long=True, is_optional=True),
)
_ENTRIES: Final = (
    Column[Entry](title="When", of=lambda entry: figures.moment(entry.root.get("at"))),
    Column[Entry](title="Who", of=lambda entry: entry.root.get("actor")),
    Column[Entry](title="Action", of=lambda entry: entry.root.get("action")),
    Column[Entry](title="Subject", of=lambda entry: entry.root.get("subject"), is_long=True),
    Column[Entry](title="Data", of=lambda entry: entry.root.get("data"), is_long=True),
)


@events.command("list")
def list_events(
    name: Annotated[str | None, typer.Option("--name", help="Only these, such as device.enrolled.")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List events, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.observe.events(name=name, limit=limit, cursor=cursor)
        )
    show_page(page, EVENT_COLUMNS, empty="Nothing has happened yet.", as_json=as_json)


@refusals.command("list")
def list_refusals(limit: Limit = 100, as_json: Json = False) -> None:
    """List refusals, the latest first; there is one line a device and reason."""
    with connect() as client:
        page = Page(items=client.observe.refusals(limit=limit))
    show_page(page, _REFUSALS, empty="Nobody was refused.", as_json=as_json)


@audit.command("list")
def list_audit(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List changes by people, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.observe.audit(limit=limit, cursor=cursor))
    show_page(page, _ENTRIES, empty="Nobody has changed anything yet.", as_json=as_json)
