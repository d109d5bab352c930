"""The device's side: enrols itself, keeps what it was told in a journal, makes it so, and proves it.

The core imports of `shoal` only `wire`, and no numpy, torch, runtime or HTTP framework: an idle agent is small. Its
child processes (`serving`, the trial in `shoal.runtimes.runner`) import what they need. Never imports `controller`.

Invariants: a command is journaled before it is acknowledged; nothing is run whose digest a signed message did not name;
a failed step leaves what served before serving.
"""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("shoal")
