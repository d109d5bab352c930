"""`python -m agent simulate`: a virtual fleet, which tells how it stands in JSON, one line a second."""

import argparse
import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import AgentError
from agent.simulator.counters import Progress
from agent.simulator.fleet import Order, require_files, simulate
from agent.simulator.profile import read_profile
from agent.simulator.shares import share_of, simulate_in_shares
from agent.simulator.store import Held

_MAX_TOKEN_BYTES: Final = 4096
_LOG_BYTES: Final = 16 * 2**20
_TOKEN: Final = "SHOAL_AGENT_TOKEN"  # noqa: S105 (a variable's name)


def run(options: argparse.Namespace) -> int:
    """Simulate until told to end; gives the exit code.

    Raises:
        AgentError: Why there is no fleet.
    """
    state: Path = options.state.expanduser().absolute()
    read_profile(options.profile, options.set)  # one that is not valid is told once, and here
    token = _token(options)
    index, count = (int(part) for part in (options.share or "0/1").split("/"))
    if not options.share:
        held = Held(state)
        try:
            if options.processes > 1:
                require_files(options.devices // options.processes + 1)
                return simulate_in_shares(options.processes, token, _tell)
            return _simulate(options, state, token, 0, 1)
        finally:
            held.release()
    return _simulate(options, state, token, index, count)


def _simulate(options: argparse.Namespace, state: Path, token: str, index: int, count: int) -> int:
    _log_into(state / f"simulator-{index}.log")
    order = Order(
        state=state,
        seed=options.seed,
        numbers=share_of(options.devices, index, count),
        controller_url=options.controller.rstrip("/"),
        token=token,
        join_rate_per_s=options.join_rate / count,
        duration_s=options.duration_s,
        profile=read_profile(options.profile, options.set),
    )
    return simulate(order, _tell)


def _tell(progress: Progress) -> None:
    sys.stdout.write(f"{msgspec.json.encode(progress).decode()}\n")
    sys.stdout.flush()


def _token(options: argparse.Namespace) -> str:
    if not options.token_file:
        return options.token or os.environ.get(_TOKEN, "")
    try:
        with options.token_file.open("rb") as file:
            return str(file.read(_MAX_TOKEN_BYTES).decode().strip())
    except (OSError, UnicodeDecodeError) as error:
        message = f"The token in {options.token_file} cannot be read: {error}"
        raise AgentError("token.malformed", message, is_final=True) from error


def _log_into(path: Path) -> None:
    """Let what thousands of agents log go into a file, of which the end is kept."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
