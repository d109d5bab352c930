"""The five kinds of refusal. Knows nothing of HTTP or MQTT; `api/errors.py` and `gateway/errors.py` translate."""

from typing import Any


class ShoalError(Exception):
    """A refusal with a reason that the caller can act on.

    Attributes:
        code: Stable, dotted: `rollout.not_running`.
        facts: What a program needs to know beside the sentence.
    """

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts


class NotFound(ShoalError):
    """What was named does not exist."""


class Conflict(ShoalError):
    """It exists, but its state forbids this."""


class Invalid(ShoalError):
    """The input is wrong and would be wrong again."""


class Forbidden(ShoalError):
    """The caller may not."""


class Unavailable(ShoalError):
    """Not now: something that is needed is not there; try again."""
