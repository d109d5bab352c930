"""`shoal alerts`: what rules noticed."""

from typing import Annotated, Final, Literal

import typer

from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_done, show_page
from shoal.cli.session import connect
from shoal.schemas.telemetry import Alert

app = typer.Typer(no_args_is_help=True, help="What alert rules noticed.")

_COLUMNS: Final = (
    Column[Alert](title="Alert", of=lambda alert: alert.id),
    Column[Alert](title="Rule", of=lambda alert: alert.rule),
    Column[Alert](title="Device", of=lambda alert: alert.device_id),
    Column[Alert](title="State", of=lambda alert: alert.state),
    Column[Alert](title="Severity", of=lambda alert: alert.severity),
    Column[Alert](title="Since", of=lambda alert: alert.since),
    Column[Alert](title="What", of=lambda alert: alert.message, is_long=True),
    Column[Alert](title="Seen by", of=lambda alert: alert.acknowledged_by, is_optional=True),
)


@app.command("list")
def list_alerts(
    state: Annotated[Literal["pending", "firing", "resolved"] | None, typer.Option("--state")] = None,
    rule: Annotated[str | None, typer.Option("--rule", metavar="NAME")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="ID")] = None,
    severity: Annotated[Literal["info", "warning", "critical"] | None, typer.Option("--severity")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List alerts, newest first; those that ended as well."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.alerts.list(
                state=state, rule=rule, device=device, severity=severity, limit=limit, cursor=cursor
            )
        )
    empty = "No alerts: nothing that a rule watches is out of the ordinary."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def acknowledge(alert_id: Annotated[str, typer.Argument(metavar="ALERT")], as_json: Json = False) -> None:
    """Say that you look after an alert."""
    with connect() as client:
        alert = client.alerts.acknowledge(alert_id)
    document = {"id": alert.id, "acknowledged_by": alert.acknowledged_by}
    show_done(f"{alert.acknowledged_by} looks after alert {alert.id}.", document, as_json=as_json)
