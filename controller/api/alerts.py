"""`/v1/alert-rules`, `/v1/alerts`: what is watched in telemetry, and what was noticed."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.telemetry import rules
from controller.telemetry.alerts import State
from controller.telemetry.tables import AlertRow, AlertRuleRow
from shoal.schemas.common import Page
from shoal.schemas.telemetry import Alert, AlertRule, AlertRuleChange, AlertRuleRequest

router = APIRouter(tags=["telemetry"])
RuleName = Annotated[str, Path(max_length=64)]


@router.post("/alert-rules", status_code=201)
def create_alert_rule(body: AlertRuleRequest, caller: Changer, session: Writing) -> AlertRule:
    """Watch one kind of telemetry on the devices of a selector."""
    row = rules.create(session, body, caller.name)
    audit.note(session, actor=caller.name, action="alert_rule.create", subject=row.name, data=body.model_dump())
    return _rules(session, [row])[0]


@router.get("/alert-rules")
def list_alert_rules(_caller: Reader, session: Reading, window: Wanted) -> Page[AlertRule]:
    """List alert rules by name."""
    found = page(session, select(AlertRuleRow), AlertRuleRow.name, window, lambda row: row, is_newest_first=False)
    return Page(items=_rules(session, found.items), next_cursor=found.next_cursor)


@router.patch("/alert-rules/{name}")
def change_alert_rule(name: RuleName, body: AlertRuleChange, caller: Changer, session: Writing) -> AlertRule:
    """Change a rule; one that is disabled ends its alerts."""
    row = rules.change(session, name, body, utc_now())
    audit.note(session, actor=caller.name, action="alert_rule.change", subject=name, data=body.model_dump())
    return _rules(session, [row])[0]


@router.delete("/alert-rules/{name}", status_code=204)
def delete_alert_rule(name: RuleName, caller: Changer, session: Writing) -> None:
    """Delete a rule; its open alerts end, and those that ended stay."""
    rules.remove(session, name, utc_now())
    audit.note(session, actor=caller.name, action="alert_rule.delete", subject=name)


@router.get("/alerts")
def list_alerts(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    state: State | None = None,
    rule: Annotated[str | None, Query(max_length=64)] = None,
    device: Annotated[str | None, Query(max_length=64)] = None,
    severity: Literal["info", "warning", "critical"] | None = None,
) -> Page[Alert]:
    """List alerts, newest first; those that ended are kept for some months."""
    query = select(AlertRow)
    wanted = (
        (AlertRow.state, state),
        (AlertRow.rule, rule),
        (AlertRow.device_id, device),
        (AlertRow.severity, severity),
    )
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    return page(session, query, AlertRow.id, window, Alert.model_validate)


@router.post("/alerts/{alert_id}/acknowledge")
def acknowledge_alert(alert_id: Annotated[str, Path(max_length=64)], caller: Changer, session: Writing) -> Alert:
    """Say that you look after an alert."""
    row = rules.acknowledge(session, alert_id, caller.name)
    audit.note(session, actor=caller.name, action="alert.acknowledge", subject=alert_id)
    return Alert.model_validate(row)


def _rules(session: Session, rows: Sequence[AlertRuleRow]) -> list[AlertRule]:
    counts = rules.counts(session, [row.name for row in rows])
    shown: list[AlertRule] = []
    for row in rows:
        plain: dict[str, Any] = {column.key: getattr(row, column.key) for column in AlertRuleRow.__table__.columns}
        firing, pending = (counts.get((row.name, state), 0) for state in (State.FIRING, State.PENDING))
        shown.append(AlertRule(**plain, firing=firing, pending=pending))
    return shown
