"""`shoal-agent enroll | run | status`, also `python -m agent`."""

import argparse
import asyncio
import json
import logging
import os
import sys

from agent import memory, status
from agent.app import Agent, enroll, only_one
from agent.errors import AgentError
from agent.identity import Identity
from agent.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    parser = argparse.ArgumentParser(prog="shoal-agent", description="Shoal's agent on this device.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="enrol if needed, then work until stopped")
    commands.add_parser("enroll", help="enrol and end")
    commands.add_parser("status", help="show what this device is and runs").add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        if options.command == "status":
            found = status.read(settings)
            sys.stdout.write(json.dumps(found, indent=2) + "\n" if options.json else status.screen(found))
        else:
            with only_one(settings):
                asyncio.run(_work(settings, enroll_only=options.command == "enroll"))
    except AgentError as error:
        sys.stderr.write(f"{error} [{error.code}]\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        sys.stderr.write(f"The agent cannot use {error.filename or settings.state}: {error.strerror or error}.\n")
        return 1
    return 0


async def _work(settings: Settings, *, enroll_only: bool) -> None:
    identity = Identity.open(settings.state)
    if identity.enrolled is None:
        await enroll(settings, identity)
        if not enroll_only:
            # Begin anew without what only enrolment needed: an enrolled agent mostly idles, and is to be small then.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this very command again)
    if not enroll_only:
        memory.use_one_arena()
        await Agent(settings, identity).run()


if __name__ == "__main__":
    sys.exit(main())
