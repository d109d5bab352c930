"""How this command starts other Pythons."""

import sys
from pathlib import Path


def python(*arguments: str) -> list[str]:
    """Give the command of a Python that finds modules where this one does: in its folder only if this one does too.

    Otherwise a folder `dashboard` or `controller` in which somebody happens to stand would be run.
    """
    is_safe = not {"", str(Path.cwd())} & set(sys.path)
    return [sys.executable, *(["-P"] if is_safe else []), *arguments]
