"""`shoal jobs`: what the controller runs on Ray, what it says meanwhile, and what it tried."""

import sys
import time
from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli import watch as watching
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.common import Page
from shoal.schemas.jobs import Job, JobLine, Trial

app = typer.Typer(no_args_is_help=True, help="What the controller runs on Ray.")
JobId = Annotated[str, typer.Argument(metavar="JOB")]

_COLUMNS: Final = (
    Column[Job](title="Job", of=lambda job: job.id),
    Column[Job](title="Kind", of=lambda job: job.kind),
    Column[Job](title="About", of=lambda job: job.subject, is_long=True),
    Column[Job](title="State", of=lambda job: job.state),
    Column[Job](title="Done", of=lambda job: figures.percent(job.progress), is_number=True),
    Column[Job](title="Left", of=lambda job: _left(job), is_number=True, is_optional=True),
    Column[Job](title="Message", of=lambda job: job.message, is_long=True, is_optional=True),
    Column[Job](title="Created", of=lambda job: job.created_at),
)
_TRIALS: Final = (
    Column[Trial](title="Front", of=lambda trial: "*" if trial.is_on_front else None, is_optional=True),
    Column[Trial](title="Recipe", of=lambda trial: trial.recipe),
    Column[Trial](title="Runtime", of=lambda trial: trial.runtime),
    Column[Trial](title="State", of=lambda trial: trial.state),
    Column[Trial](title="Score", of=lambda trial: _figure(trial, "accuracy", "{:.4f}"), is_number=True),
    Column[Trial](title="Agrees", of=lambda trial: _figure(trial, "agreement", "{:.1%}"), is_number=True),
    Column[Trial](title="Size", of=lambda trial: _size(trial), is_number=True),
    Column[Trial](title="p50 ms", of=lambda trial: _figure(trial, "latency_p50_ms", "{:.3f}"), is_number=True),
    Column[Trial](title="p95 ms", of=lambda trial: _figure(trial, "latency_p95_ms", "{:.3f}"), is_number=True),
    Column[Trial](title="Why", of=lambda trial: trial.message or trial.code, is_long=True, is_optional=True),
)
_LAYERS: Final = (
    Column[dict[str, Any]](title="Layer", of=lambda layer: layer["layer"], is_long=True),
    Column[dict[str, Any]](title="Kind", of=lambda layer: layer["kind"]),
    Column[dict[str, Any]](
        title="Drop", of=lambda layer: None if layer["drop"] is None else f"{layer['drop']:.4f}", is_number=True
    ),
    Column[dict[str, Any]](title="Noise", of=lambda layer: f"{layer['noise']:.2e}", is_number=True),
    Column[dict[str, Any]](title="Size", of=lambda layer: figures.size(layer["weight_bytes"]), is_number=True),
)
_LINES: Final = (
    Column[JobLine](title="At", of=lambda line: line.at.strftime("%H:%M:%S")),
    Column[JobLine](title="Level", of=lambda line: line.level),
    Column[JobLine](title="Text", of=lambda line: line.text, is_long=True),
)
_LOOK_INTERVAL_S: Final = 0.5
_LOG_PAGE: Final = 500


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
    show_item(found, _facts(found), *_layers(found), as_json=as_json)


@app.command()
def watch(job: JobId, as_json: Json = False) -> None:
    """Watch a job until it has ended; exit code 1 unless it succeeded."""
    with connect() as client:
        follow(client, client.jobs.show(job), is_watched=True, as_json=as_json)


@app.command()
def cancel(job: JobId, as_json: Json = False) -> None:
    """End a job; what it has finished stays."""
    with connect() as client:
        ended = client.jobs.cancel(job)
    show_item(ended, _facts(ended), as_json=as_json)


@app.command()
def log(
    job: JobId,
    follows: Annotated[bool, typer.Option("--follow", help="Stay until the job has ended.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Only lines with a higher number.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what a job says; the newest lines are kept. With --json --follow one document a line."""
    with connect() as client:
        if not follows:
            page = client.jobs.log(job, after=after, limit=_LOG_PAGE)
            show_page(page, _LINES, empty="It has said nothing yet.", as_json=as_json)
            return
        while True:
            is_open = client.jobs.show(job).state in watching.OPEN  # before the lines: the last ones are not missed
            lines = client.jobs.log(job, after=after, limit=_LOG_PAGE).items
            for line in lines:
                sys.stdout.write(f"{line.model_dump_json() if as_json else _said(line)}\n")
                after = line.number
            sys.stdout.flush()
            if not is_open and not lines:
                return
            time.sleep(0 if lines else _LOOK_INTERVAL_S)


@app.command()
def trials(
    job: JobId,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """Show what a job has tried; a star marks what no other beats in all of size, latency and score."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.jobs.trials(job, limit=limit, cursor=cursor)
        )
    show_page(page, _TRIALS, empty="It has tried nothing yet.", as_json=as_json)


def follow(client: Client, job: Job, *, is_watched: bool, as_json: bool) -> None:
    """Show a job, first watching it to its end if so wanted, and what it tried.

    Raises:
        typer.Exit: It has ended, and not well.
    """
    if is_watched:
        job = watching.watch(lambda: client.jobs.show(job.id), _bars, is_quiet=as_json)
    tried = client.jobs.trials(job.id, limit=_LOG_PAGE) if is_watched else Page[Trial](items=[])
    show_item(job, _facts(job), *_layers(job), Part(items=tried.items, columns=_TRIALS), as_json=as_json)
    watching.exit_by(job.state)


def _bars(job: Job) -> list[Bar]:
    words = job.message or job.state
    left = "" if job.remaining_s is None else f", {_left(job)} left"
    return [Bar(name=f"{job.kind} {job.subject}", share=job.progress, words=f"{words}{left}")]


def _left(job: Job) -> str | None:
    return None if job.remaining_s is None else f"about {figures.duration(max(1.0, job.remaining_s))}"


def _said(line: JobLine) -> str:
    return f"{line.at.strftime('%H:%M:%S')} {line.level:7} {figures.text(line.text)}"


def _figure(trial: Trial, name: str, form: str) -> str | None:
    value = trial.figures.get(name)
    return form.format(value) if isinstance(value, int | float) else None


def _size(trial: Trial) -> str | None:
    value = trial.figures.get("size_bytes")
    return figures.size(value) if isinstance(value, int | float) else None


def _layers(job: Job) -> list[Part[dict[str, Any]]]:
    """Give what was found about a version's layers."""
    layers = job.result.get("layers", [])
    return [Part(items=layers, columns=_LAYERS)] if layers else []


def _facts(job: Job) -> dict[str, Any]:
    return {
        "Job": job.id,
        "Kind": job.kind,
        "About": job.subject,
        "State": job.state,
        "Code": job.code,
        "Message": job.message,
        "Done": figures.percent(job.progress),
        "Left": _left(job),
        "Attempt": job.attempt,
        "Result": {name: value for name, value in job.result.items() if name != "layers"},
        "By": job.created_by,
        "Created": job.created_at,
        "Started": job.started_at,
        "Finished": job.finished_at,
    }
