"""Data that a page shows in parts, of which one may be refused while the others are there. No user interface."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shoal.client import ApiError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Part(Generic[T]):
    """What a call gave, or why it was refused."""

    value: T | None
    refusal: str


def part(call: Callable[[], T]) -> Part[T]:
    """Ask for a part of a page: a refusal (a room that this controller lacks, say) is told in its place.

    Raises:
        ApiError: 401, as the whole page then leads to the login.
        Unreachable.
    """
    try:
        return Part(value=call(), refusal="")
    except ApiError as error:
        if error.status == 401:
            raise
        return Part(value=None, refusal=str(error))
