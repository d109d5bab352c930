"""What every noun's bodies are made of: strict bases, names, pages, selectors."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Item = TypeVar("Item")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._/-]+$")]
LabelValue = Annotated[str, StringConstraints(max_length=128)]
Labels = Annotated[dict[Label, LabelValue], Field(max_length=32)]
# Which devices: an expression of the selector language (docs/selectors.md), such as `labels.site == "lyon"`, or `all`.
Selector = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16_384)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Request(BaseModel):
    """A body that a caller sends: unknown fields are errors, so that a typo is noticed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Response(BaseModel):
    """A body that the API answers: a client ignores fields that it does not know."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), from_attributes=True)


class Page(Response, Generic[Item]):
    """One page of a list.

    Attributes:
        next_cursor: Give it as `cursor` to get the next page; None on the last.
        total: How many there are in all pages, where the list counts them.
    """

    items: list[Item]
    next_cursor: str | None = None
    total: int | None = None
