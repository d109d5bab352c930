"""`shoal-agent enroll | run | status`, also `python -m agent`."""

import argparse
import asyncio
import json
import logging
import os
import sys
from typing import Any

import msgspec

from agent import VERSION, memory
from agent.app import Agent, enroll, only_one
from agent.errors import AgentError
from agent.facts import offered_runtimes
from agent.identity import Identity
from agent.journal import Journal
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
            _show(_status(settings), as_json=options.json)
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


def _status(settings: Settings) -> dict[str, Any]:
    status: dict[str, Any] = {"agent_version": VERSION, "state_folder": str(settings.state), "enrolled": False}
    if not (settings.state / "device.key").exists():
        return status
    identity = Identity.open(settings.state)
    if identity.enrolled is None:
        return status
    journal = Journal(settings.state / "journal.db")
    status |= {
        "enrolled": True,
        "device_id": identity.device_id,
        "controller_url": identity.enrolled.controller_url,
        "certificate_expires_at": identity.certificate_expires_at(),
        "runtimes": offered_runtimes(settings),
        "sessions": int(journal.get("session") or b"0"),
        "messages_waiting": len(journal.messages(limit=10_000)),
        "slots": [msgspec.to_builtins(slot) for slot in journal.slots()],
    }
    journal.close()
    return status


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(status, indent=2) + "\n")
        return
    for name, value in status.items():
        if name != "slots":
            sys.stdout.write(f"{name.replace('_', ' '):24} {value}\n")
    for slot in status.get("slots", []):
        variant = slot["variant"]
        what = f"{variant['model']}/{variant['version']} {variant['recipe']} on {variant['runtime']}"
        sys.stdout.write(f"{'slot ' + slot['slot']:24} {slot['state']:12} {what} {slot['message']}\n".rstrip() + "\n")


if __name__ == "__main__":
    sys.exit(main())
