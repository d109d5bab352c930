"""Keeping the idle agent small."""

import ctypes
import sys
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h
_libc: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def use_one_arena() -> None:
    """Let all threads allocate from one place; by default each new thread gets up to 64 MB of its own."""
    if _libc is not None and hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 1)
