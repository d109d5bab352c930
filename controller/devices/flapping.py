"""When a device comes and goes too often to rely on, and when it may be relied on again. Pure.

The two bounds lie apart, so that a device at one of them does not change its state with each session.
"""

from datetime import timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=10)
_FLAPPING_AT: Final = 6  # sessions begun within the window
_STEADY_AT: Final = 2


def is_flapping(was_flapping: bool, births: int) -> bool:
    """Tell whether a device flaps.

    Args:
        was_flapping: Whether it did until now.
        births: Sessions that it began within the last `WINDOW`.

    >>> is_flapping(False, 5), is_flapping(False, 6), is_flapping(True, 3), is_flapping(True, 2)
    (False, True, True, False)
    """
    return births > _STEADY_AT if was_flapping else births >= _FLAPPING_AT
