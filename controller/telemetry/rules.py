"""Alert rules, and what is done with alerts: made, changed, deleted, acknowledged, forgotten."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from controller.db import utc_now
from controller.devices import selectors
from controller.errors import Conflict, Invalid, NotFound
from controller.telemetry import watching
from controller.telemetry.alerts import RATES, Condition, State
from controller.telemetry.tables import AlertRow, AlertRuleRow
from shoal.schemas.telemetry import AlertRuleChange, AlertRuleRequest

MAX_RULES: Final = 200  # each is looked at with every batch
LEAST_SILENCE_S: Final = 10.0
_PRUNED: Final = 1000


def create(session: Session, request: AlertRuleRequest, actor: str) -> AlertRuleRow:
    """Make a rule.

    Raises:
        Conflict: `alert_rule.exists`, `alert_rule.too_many`.
        Invalid: `alert_rule.threshold_missing`, `alert_rule.threshold_extra`, `alert_rule.threshold_negative`,
            `alert_rule.too_short`, or what is wrong with the selector.
    """
    if session.get(AlertRuleRow, request.name) is not None:
        raise Conflict("alert_rule.exists", f"There is an alert rule {request.name} already.")
    if (session.scalar(select(func.count()).select_from(AlertRuleRow)) or 0) >= MAX_RULES:
        raise Conflict("alert_rule.too_many", f"There are {MAX_RULES} alert rules: delete one.")
    condition = Condition(request.condition)
    _check(condition, request.threshold, request.for_s)
    row = AlertRuleRow(
        name=request.name,
        selector=str(selectors.accept(session, request.selector)),
        kind=request.kind,
        condition=condition,
        threshold=request.threshold,
        for_s=request.for_s,
        window_s=request.window_s,
        severity=request.severity,
        is_enabled=True,
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, name: str) -> AlertRuleRow:
    """Give a rule, held for this transaction.

    Raises:
        NotFound: `alert_rule.not_found`.
    """
    row = session.get(AlertRuleRow, name)
    if row is None:
        raise NotFound("alert_rule.not_found", f"There is no alert rule {name[:64]}.")
    return row


def change(session: Session, name: str, wanted: AlertRuleChange, now: datetime) -> AlertRuleRow:
    """Change a rule; one that is disabled ends its alerts.

    Raises:
        NotFound, Invalid: See `create`.
    """
    row = get(session, name)
    threshold = row.threshold if wanted.threshold is None else wanted.threshold
    for_s = row.for_s if wanted.for_s is None else wanted.for_s
    _check(Condition(row.condition), threshold, for_s)
    row.threshold, row.for_s = threshold, for_s
    # What is pending began by the old rule.
    session.execute(delete(AlertRow).where(AlertRow.rule == name, AlertRow.state == State.PENDING))
    if wanted.is_enabled is not None:
        row.is_enabled = wanted.is_enabled
    if not row.is_enabled:
        watching.end_alerts(session, name, now)
    session.flush()
    return row


def remove(session: Session, name: str, now: datetime) -> None:
    """Delete a rule; its open alerts end, and those that ended stay.

    Raises:
        NotFound: `alert_rule.not_found`.
    """
    row = get(session, name)
    watching.end_alerts(session, name, now)
    session.delete(row)
    session.flush()


def counts(session: Session, names: Iterable[str]) -> dict[tuple[str, str], int]:
    """Count the open alerts of rules by rule and state."""
    query = (
        select(AlertRow.rule, AlertRow.state, func.count())
        .where(AlertRow.rule.in_(list(names)), AlertRow.state.in_([State.PENDING, State.FIRING]))
        .group_by(AlertRow.rule, AlertRow.state)
    )
    return {(rule, state): count for rule, state, count in session.execute(query)}


def acknowledge(session: Session, alert_id: str, actor: str) -> AlertRow:
    """Say that somebody looks after an alert; who said it first stays.

    Raises:
        NotFound: `alert.not_found`.
        Conflict: `alert.resolved`.
    """
    row = session.get(AlertRow, alert_id, with_for_update=True)
    if row is None:
        raise NotFound("alert.not_found", f"There is no alert {alert_id[:64]}.")
    if row.state == State.RESOLVED:
        raise Conflict("alert.resolved", "This alert has ended already.")
    row.acknowledged_by = row.acknowledged_by or actor
    session.flush()
    return row


def prune(session: Session, kept_s: float, now: datetime) -> None:
    """Forget alerts that ended long ago, some at a time."""
    bound = now - timedelta(seconds=kept_s)
    old = select(AlertRow.id).where(AlertRow.resolved_at < bound).order_by(AlertRow.resolved_at).limit(_PRUNED)
    session.execute(delete(AlertRow).where(AlertRow.id.in_(old)))


def _check(condition: Condition, threshold: float | None, for_s: float) -> None:
    if condition is Condition.ABSENT:
        if threshold is not None:
            raise Invalid("alert_rule.threshold_extra", "A rule of absence has no threshold: leave it out.")
        if for_s < LEAST_SILENCE_S:
            message = f"A device is silent between two samples, too: let for_s be {LEAST_SILENCE_S:g} or more."
            raise Invalid("alert_rule.too_short", message)
    elif threshold is None:
        raise Invalid("alert_rule.threshold_missing", f"The condition {condition} needs a threshold.")
    elif condition in RATES and threshold <= 0:
        message = "The threshold of a rate is above 0: `falling` by 2 is 2 less each second."
        raise Invalid("alert_rule.threshold_negative", message)
