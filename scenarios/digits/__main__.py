"""`python -m scenarios.digits`: the first voyage. Exit code 0 only if every step did what it shall."""

import argparse
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from scenarios.digits import report as reports
from scenarios.digits.controls import Controls
from scenarios.digits.report import Report
from scenarios.digits.voyage import STEPS, rest, sail
from scenarios.errors import StepFailed
from scenarios.harbour import leave
from scenarios.stage import Stage
from shoal.client import ApiError, Unreachable


def main() -> int:
    """Sail; gives the exit code."""
    parser = argparse.ArgumentParser(prog="shoal demo digits", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="end after the report instead of leaving the dashboard up")
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo-digits"), help="folder of report.json and of the demo's state"
    )
    parser.add_argument("--dashboard-port", type=int, default=8090, help="any free one is taken if it is in use")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of all training")
    options = parser.parse_args()
    console = Console()
    # Also where SIGINT came ignored, as a shell starts what runs in its background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        _voyage(options, console)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing of the demo is left running.")
        return 130
    except (StepFailed, ApiError, Unreachable, OSError) as error:
        code = f" [{error.code}]" if isinstance(error, ApiError) else ""
        Console(stderr=True).print(f"[bold red]The demo failed:[/] {error}{code}", highlight=False)
        console.print(f"Logs stand under {options.out / 'state'}.", highlight=False)
        return 1
    return 0


def _voyage(options: argparse.Namespace, console: Console) -> None:
    start = time.monotonic()
    state = options.out.absolute() / "state"
    report = Report()
    show = Stage(console, 1 + STEPS)
    with ExitStack() as opened:
        address, client = leave(opened, show, console, state, options.dashboard_port)
        controls = opened.enter_context(
            Controls(client=client, stage=show, report=report, address=address, state=state, seed=options.seed)
        )
        try:
            sail(controls)
        finally:
            report.duration_s = round(time.monotonic() - start, 1)
            report.write(options.out / "report.json")
        reports.show(report, console)
        console.print(f"Report: {options.out / 'report.json'}", highlight=False)
        if not options.exit:
            console.print(
                f"The dashboard stays up at [bold]{address.dashboard_url}[/] "
                f"({address.username} / {address.password}); Ctrl-C ends it.",
                highlight=False,
            )
            rest(controls)


if __name__ == "__main__":
    sys.exit(main())
