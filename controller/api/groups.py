"""`/v1/selectors`, `/v1/groups`, `/v1/labels`: which devices are meant, saved, and called what."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.devices import groups, labels, selectors
from controller.devices.groups import Count
from controller.devices.labels import Edit, Outcome
from controller.devices.tables import GroupRow
from shoal.schemas.common import Page
from shoal.schemas.groups import (
    Group,
    GroupChange,
    GroupRequest,
    LabelEdit,
    LabelEditResult,
    SelectorCheck,
    SelectorField,
    SelectorRequest,
)

router = APIRouter(tags=["devices"])
GroupName = Annotated[str, Path(max_length=64)]


@router.post("/selectors/check")
def check_selector(body: SelectorRequest, _caller: Reader, session: Reading) -> SelectorCheck:
    """Count what a selector means; what is wrong with it is answered with its column."""
    meant = selectors.accept(session, body.selector)
    devices, active = selectors.count(session, meant)
    return SelectorCheck(selector=str(meant), devices=devices, active=active)


@router.get("/selectors/fields")
def list_selector_fields(_caller: Reader, session: Reading) -> Page[SelectorField]:
    """List all that a selector can ask for: fields, labels, and values that occur."""
    return Page(items=[SelectorField.model_validate(known) for known in selectors.fields(session)])


@router.post("/groups", status_code=201)
def create_group(body: GroupRequest, caller: Changer, session: Writing) -> Group:
    """Save a selector under a name."""
    row = groups.create(
        session,
        name=body.name,
        selector=body.selector,
        description=body.description,
        actor=caller.name,
        now=utc_now(),
    )
    audit.note(session, actor=caller.name, action="group.create", subject=row.name, data={"selector": row.selector})
    return _groups(session, [row])[0]


@router.get("/groups")
def list_groups(_caller: Reader, session: Reading, window: Wanted) -> Page[Group]:
    """List groups by name."""
    found = page(session, select(GroupRow), GroupRow.name, window, lambda row: row, is_newest_first=False)
    return Page(items=_groups(session, found.items), next_cursor=found.next_cursor)


@router.get("/groups/{name}")
def show_group(name: GroupName, _caller: Reader, session: Reading) -> Group:
    """Show a group; `/v1/devices?selector=group == "..."` lists its members."""
    return _groups(session, [groups.get(session, name)])[0]


@router.patch("/groups/{name}")
def change_group(name: GroupName, body: GroupChange, caller: Changer, session: Writing) -> Group:
    """Change a group's selector or description; its members follow at once."""
    row = groups.change(session, name, selector=body.selector, description=body.description, now=utc_now())
    audit.note(session, actor=caller.name, action="group.change", subject=name, data=body.model_dump())
    return _groups(session, [row])[0]


@router.delete("/groups/{name}", status_code=204)
def delete_group(name: GroupName, caller: Changer, session: Writing) -> None:
    """Delete a group; its devices stay as they are."""
    groups.remove(session, name)
    audit.note(session, actor=caller.name, action="group.delete", subject=name)


@router.post("/labels/preview")
def preview_label_edit(body: LabelEdit, _caller: Reader, session: Reading) -> LabelEditResult:
    """Say what a label edit would do, and do nothing."""
    return _result(labels.preview(session, _edit(body)))


@router.post("/labels/apply")
def apply_label_edit(body: LabelEdit, caller: Changer, session: Writing) -> LabelEditResult:
    """Change the labels of all devices that a selector means, all or none."""
    outcome = labels.apply(session, _edit(body), expected=body.expected)
    data = {"set": body.set, "remove": body.remove, "changed": len(outcome.changed)}
    audit.note(session, actor=caller.name, action="labels.edit", subject=outcome.selector, data=data)
    return _result(outcome)


def _edit(body: LabelEdit) -> Edit:
    return Edit(selector=body.selector, set=body.set, remove=body.remove)


def _result(outcome: Outcome) -> LabelEditResult:
    return LabelEditResult(matched=outcome.matched, changed=len(outcome.changed), examples=outcome.examples)


def _groups(session: Session, rows: Sequence[GroupRow]) -> list[Group]:
    counts = groups.counts(session, [row.name for row in rows])
    return [_group(row, counts.get(row.name, Count())) for row in rows]


def _group(row: GroupRow, count: Count) -> Group:
    return Group(
        name=row.name,
        selector=row.selector,
        description=row.description,
        devices=count.devices,
        online=count.online,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
