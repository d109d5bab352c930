"""A controller without HTTP doors as a process of its own, which kills itself at its n-th acknowledgement.

`python -m tests.mortal_gateway STATE BROKER_URL N`: with `kill -9`, so that what it took is committed and the broker
does not know it. N is 0 for one that lives until it is killed from outside.
"""

import itertools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from controller.gateway.client import Gateway
from controller.keys import Keys
from tests.rig import BrokerAt, Office


def kill_at(acknowledgement: int) -> None:
    """Let this process die instead of acknowledging for the n-th time."""
    counted = itertools.count(1)
    acknowledge = Gateway._acknowledge

    def acknowledge_or_die(self: Gateway, mids: Sequence[int]) -> None:
        for mid in mids:
            if next(counted) == acknowledgement:
                os.kill(os.getpid(), signal.SIGKILL)
            acknowledge(self, [mid])

    Gateway._acknowledge = acknowledge_or_die  # type: ignore[method-assign]


def main() -> None:
    state, url, acknowledgement = sys.argv[1:]
    kill_at(int(acknowledgement))
    Office(BrokerAt(url, Keys.open(Path(state)), Path(state), False)).start()
    signal.pause()


if __name__ == "__main__":
    main()
