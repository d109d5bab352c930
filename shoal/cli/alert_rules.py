"""`shoal alert-rules`: what is watched in telemetry."""

from typing import Annotated, Final, Literal

import typer

from shoal.cli import figures
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.telemetry import measure
from shoal.schemas.telemetry import AlertRule, AlertRuleChange, AlertRuleRequest

app = typer.Typer(no_args_is_help=True, help="What is watched in telemetry.")
Name = Annotated[str, typer.Argument(metavar="NAME")]

_COLUMNS: Final = (
    Column[AlertRule](title="Rule", of=lambda rule: rule.name),
    Column[AlertRule](title="Watches", of=lambda rule: _condition(rule)),
    Column[AlertRule](title="Devices", of=lambda rule: rule.selector, is_long=True),
    Column[AlertRule](title="Severity", of=lambda rule: rule.severity),
    Column[AlertRule](title="Firing", of=lambda rule: rule.firing, is_number=True),
    Column[AlertRule](title="Pending", of=lambda rule: rule.pending, is_number=True),
    Column[AlertRule](title="Enabled", of=lambda rule: rule.is_enabled),
)


@app.command()
def create(
    name: Name,
    kind: Annotated[str, typer.Option("--kind", help="Such as temperature.cpu_celsius.")],
    condition: Annotated[
        Literal["above", "below", "absent", "rising", "falling"],
        typer.Option("--condition", help="`rising` and `falling`: by more than the threshold a second."),
    ],
    selector: Annotated[str, typer.Option("--selector", metavar="TEXT", help="On which devices.")] = "all",
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="In the kind's unit; none for `absent`.")
    ] = None,
    for_s: Annotated[float, typer.Option("--for-s", min=0, help="How long it must hold.")] = 0.0,
    window_s: Annotated[float, typer.Option("--window-s", min=10, help="Of a rate: measured over.")] = 300.0,
    severity: Annotated[Literal["info", "warning", "critical"], typer.Option("--severity")] = "warning",
    as_json: Json = False,
) -> None:
    """Watch one kind of telemetry on the devices of a selector."""
    request = AlertRuleRequest(
        name=name,
        selector=selector,
        kind=kind,
        condition=condition,
        threshold=threshold,
        for_s=for_s,
        window_s=window_s,
        severity=severity,
    )
    with connect() as client:
        _show(client.alert_rules.create(request), as_json=as_json)


@app.command("list")
def list_rules(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List rules by name."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.alert_rules.list(limit=limit, cursor=cursor)
        )
    empty = "No alert rules yet: make one with `shoal alert-rules create`."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def change(
    name: Name,
    threshold: Annotated[float | None, typer.Option("--threshold")] = None,
    for_s: Annotated[float | None, typer.Option("--for-s", min=0)] = None,
    as_json: Json = False,
) -> None:
    """Change when a rule fires."""
    with connect() as client:
        changed = client.alert_rules.change(name, AlertRuleChange(threshold=threshold, for_s=for_s))
    _show(changed, as_json=as_json)


@app.command()
def enable(name: Name, as_json: Json = False) -> None:
    """Let a rule watch again."""
    with connect() as client:
        _show(client.alert_rules.change(name, AlertRuleChange(is_enabled=True)), as_json=as_json)


@app.command()
def disable(name: Name, as_json: Json = False) -> None:
    """Let a rule watch nothing; its alerts end."""
    with connect() as client:
        _show(client.alert_rules.change(name, AlertRuleChange(is_enabled=False)), as_json=as_json)


@app.command()
def delete(name: Name, as_json: Json = False) -> None:
    """Delete a rule; its alerts end."""
    with connect() as client:
        client.alert_rules.delete(name)
    show_done(f"Deleted the alert rule {name}.", {"name": name, "deleted": True}, as_json=as_json)


def _show(rule: AlertRule, *, as_json: bool) -> None:
    facts = {
        "Rule": rule.name,
        "Watches": _condition(rule),
        "Devices": rule.selector,
        "Severity": rule.severity,
        "Enabled": rule.is_enabled,
        "Firing": rule.firing,
        "Pending": rule.pending,
        "Made by": rule.created_by,
        "Created": rule.created_at,
    }
    show_item(rule, facts, as_json=as_json)


def _condition(rule: AlertRule) -> str:
    lasting = f" for {figures.duration(rule.for_s)}" if rule.for_s else ""
    if rule.threshold is None:
        return f"{rule.kind} {rule.condition}{lasting}"
    rate = f" a second, over {figures.duration(rule.window_s)}" if rule.condition in ("rising", "falling") else ""
    return f"{rule.kind} {rule.condition} {measure(rule.kind, rule.threshold)}{rate}{lasting}"
