"""Selectors and the groups that are saved from them, and edits of the labels of all devices that a selector means."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from shoal.schemas.common import Label, Labels, Name, Request, Response, Selector


class SelectorRequest(Request):
    """`POST /v1/selectors/check`."""

    selector: Selector


class SelectorCheck(Response):
    """What a selector means now.

    Attributes:
        selector: As it is kept: one spelling for one meaning.
        devices: How many devices it means, whatever their state.
        active: How many of them are active, so that work can be sent to them.
    """

    selector: str
    devices: int
    active: int


class SelectorField(Response):
    """Something that a selector can ask for.

    Attributes:
        path: `labels.site`, `facts.memory_bytes`, `state`.
        type: What it is compared with: `text`, `number`, `boolean`, `list`, `map`.
        values: Some that occur, the most frequent first; empty where there are too many to name.
    """

    path: str
    type: Literal["text", "number", "boolean", "list", "map"]
    meaning: str
    values: list[str]


class GroupRequest(Request):
    """`POST /v1/groups`: save a selector under a name."""

    name: Name
    selector: Selector
    description: str = Field(default="", max_length=512)


class GroupChange(Request):
    """`PATCH /v1/groups/{name}`; what is None stays."""

    selector: Selector | None = None
    description: str | None = Field(default=None, max_length=512)


class Group(Response):
    """A saved selector; its members follow from what happens to devices.

    Attributes:
        devices: Members now.
        online: Of them, online.
    """

    name: str
    selector: str
    description: str
    devices: int
    online: int
    created_by: str
    created_at: datetime
    updated_at: datetime


class LabelEdit(Request):
    """`POST /v1/labels/preview` and `/v1/labels/apply`: change the labels of all devices that a selector means.

    Attributes:
        set: Labels that the devices get.
        remove: Names of labels that the devices lose.
        expected: Of `apply`: how many devices the preview said would change; refused if it is another number now.
    """

    selector: Selector
    set: Labels = Field(default_factory=dict)
    remove: list[Label] = Field(default_factory=list, max_length=32)
    expected: int | None = Field(default=None, ge=0)


class LabelEditResult(Response):
    """What a label edit does, or did.

    Attributes:
        matched: Devices that the selector means.
        changed: Of them, those whose labels become others.
        examples: Ids of some of those.
    """

    matched: int
    changed: int
    examples: list[str]
