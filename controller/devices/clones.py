"""When two machines have one identity. Pure.

A session number is counted in a journal that one agent process holds, and each process has a random instance. So one
number with two instances means two journals: somebody copied a device. A copy of an old image counts from far below,
and is told by being late again and again.

A birth is signed, but a broker can repeat it: a repeated one carries the instance that is known. Only who holds the
broker and has kept births for longer than the controller keeps sessions could have a device suspended; he could as
well silence it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

KEPT_SESSIONS: Final = 200  # newest of a device
LATE_WITHIN: Final = timedelta(hours=1)
_LATE_BIRTHS: Final = 3
_LATE_SPAN: Final = timedelta(minutes=1)  # births that were only overtaken by a newer session's come all at once


def is_clone(known_instance: str | None, instance: str, late: Sequence[datetime]) -> bool:
    """Tell whether a birth comes from a second machine.

    Args:
        known_instance: Who began the session of this number, None if nobody did.
        late: When sessions with numbers below the newest began within `LATE_WITHIN`, this one included.

    >>> is_clone("a", "b", []), is_clone("a", "a", []), is_clone(None, "b", [])
    (True, False, False)
    """
    if known_instance is not None and known_instance != instance:
        return True
    return len(late) >= _LATE_BIRTHS and max(late) - min(late) >= _LATE_SPAN
