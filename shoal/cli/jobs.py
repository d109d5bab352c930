"""`shoal jobs`: what the controller runs on Ray."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli import watch as watching
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.jobs import Job

app = typer.Typer(no_args_is_help=True, help="What the controller runs on Ray.")
JobId = Annotated[str, typer.Argument(metavar="JOB")]

_COLUMNS: Final = (
    Column[Job](title="Job", of=lambda job: job.id),
    Column[Job](title="Kind", of=lambda job: job.kind),
    Column[Job](title="About", of=lambda job: job.subject, is_long=True),
    Column[Job](title="State", of=lambda job: job.state),
    Column[Job](title="Done", of=lambda job: figures.percent(job.progress), is_number=True),
    Column[Job](title="Message", of=lambda job: job.message, is_long=True, is_optional=True),
    Column[Job](title="Created", of=lambda job: job.created_at),
)


@app.command("list")
def list_jobs(
    kind: Annotated[str | None, typer.Option("--kind", help="Only these, such as compress.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    subject: Annotated[str | None, typer.Option("--about", help="Only jobs about this, such as digits/1.")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.jobs.list(kind=kind, state=state, subject=subject, limit=limit, cursor=cursor)
        )
    empty = (
        "No job is like that." if kind or state or subject else "No jobs yet: `shoal compressions create` starts one."
    )
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def show(job: JobId, as_json: Json = False) -> None:
    """Show a job."""
    with connect() as client:
        found = client.jobs.show(job)
    show_item(found, _facts(found), as_json=as_json)


@app.command()
def watch(job: JobId, as_json: Json = False) -> None:
    """Watch a job until it has ended; exit code 1 unless it succeeded."""
    with connect() as client:
        follow(client, client.jobs.show(job), is_watched=True, as_json=as_json)


def follow(client: Client, job: Job, *, is_watched: bool, as_json: bool) -> None:
    """Show a job, first watching it to its end if so wanted.

    Raises:
        typer.Exit: It has ended, and not well.
    """
    if is_watched:
        job = watching.watch(lambda: client.jobs.show(job.id), _bars, is_quiet=as_json)
    show_item(job, _facts(job), as_json=as_json)
    watching.exit_by(job.state)


def _bars(job: Job) -> list[Bar]:
    return [Bar(name=f"{job.kind} {job.subject}", share=job.progress, words=job.message or job.state)]


def _facts(job: Job) -> dict[str, Any]:
    return {
        "Job": job.id,
        "Kind": job.kind,
        "About": job.subject,
        "State": job.state,
        "Code": job.code,
        "Message": job.message,
        "Done": figures.percent(job.progress),
        "Attempt": job.attempt,
        "Result": job.result,
        "By": job.created_by,
        "Created": job.created_at,
        "Started": job.started_at,
        "Finished": job.finished_at,
    }
