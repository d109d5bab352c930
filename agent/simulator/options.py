"""What `python -m agent simulate` can be asked for. Imports nothing of the simulator: every agent reads this."""

import argparse
from pathlib import Path
from typing import Final

_DEFAULT_STATE: Final = Path("~/.local/state/shoal/simulator")
_MAX_DEVICES: Final = 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what can be asked for."""
    parser.add_argument("--devices", type=_count, required=True, metavar="N", help="how many there shall be")
    parser.add_argument(
        "--controller", required=True, metavar="URL", help="the controller's door for devices, https://host:port"
    )
    parser.add_argument(
        "--token",
        default="",
        help="an enrolment token for that many devices, visible to every user of this machine here; "
        "better --token-file, or SHOAL_AGENT_TOKEN; those that have enrolled before need none",
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="read the token from this file")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="another seed is another fleet; 1")
    parser.add_argument(
        "--state", type=Path, default=_DEFAULT_STATE, metavar="DIR", help=f"where its keys are kept; {_DEFAULT_STATE}"
    )
    parser.add_argument("--join-rate", type=_positive, default=0.0, metavar="R", help="devices that join in a second")
    parser.add_argument("--processes", type=_processes, default=1, metavar="P", help="share the work; 1")
    parser.add_argument("--duration-s", type=_positive, default=0.0, metavar="T", help="end after so many seconds")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="how it behaves: a TOML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a line of the profile: failure_ratio=0.05"
    )
    parser.add_argument("--share", default="", help=argparse.SUPPRESS)


def _count(text: str) -> int:
    return _between(text, 1, _MAX_DEVICES)


def _processes(text: str) -> int:
    return _between(text, 1, 64)


def _between(text: str, least: int, most: int) -> int:
    number = int(text)
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"is from {least} to {most}")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1e6:  # NaN is none either
        raise argparse.ArgumentTypeError("is a number from 0 to 1,000,000")
    return number
