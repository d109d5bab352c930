"""`shoal-agent enroll | run | status | facts | install | uninstall | simulate`, also `python -m agent`."""

import argparse
import asyncio
import getpass
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from agent import logs, memory, status
from agent.app import Agent, enroll, only_one
from agent.errors import AgentError
from agent.facts import boot_id, read_facts
from agent.hardware import kept
from agent.identity import Identity
from agent.inventory import screen, survey
from agent.settings import Settings
from agent.simulator import options as simulator
from shoal.wire.devices import Facts

if TYPE_CHECKING:
    from agent.install import Outcome

_MAX_TOKEN_BYTES: Final = 4096
_INSTALL: Final = """\
Write a systemd service that starts at boot, its settings into /etc/shoal/agent.toml and the enrolment token into
/etc/shoal/token (which root alone can read). Again with the same options changes nothing; with others it replaces what
differs and restarts the service. With --root it prepares a mounted image, such as an SD card's, and starts nothing.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "install":
            return _install(options)
        if options.command == "uninstall":
            return _uninstall(options)
        if options.command == "simulate":
            from agent.simulator import command  # brings numpy

            return command.run(options)
        settings = Settings.from_environment()
        if options.command == "status":
            logs.begin(settings.log_level, None)
            found = status.read(settings)
            columns = shutil.get_terminal_size((100, 24)).columns
            text = json.dumps(found, indent=2) + "\n" if options.json else status.screen(found, width=columns)
            sys.stdout.write(text)
        elif options.command == "facts":
            logs.begin(settings.log_level, None)
            known = asyncio.run(_look(settings, measures=options.measure))
            sys.stdout.write(json.dumps(msgspec.to_builtins(known), indent=2) + "\n" if options.json else screen(known))
        else:
            with only_one(settings):
                logs.begin(settings.log_level, settings.state)
                asyncio.run(_work(settings, enroll_only=options.command == "enroll"))
    except AgentError as error:
        sys.stderr.write(f"{error} [{error.code}]\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        what = "a file" if error.filename is None else error.filename
        sys.stderr.write(f"The agent cannot use {what}: {error.strerror or error}.\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shoal-agent", description="Shoal's agent on this device.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="enrol if needed, then work until stopped")
    commands.add_parser("enroll", help="enrol and end")
    show = commands.add_parser("status", help="show what this device is and runs")
    show.add_argument("--json", action="store_true", help="print JSON")
    simulator.add_options(commands.add_parser("simulate", help="be a fleet of virtual devices, to try a controller"))
    look = commands.add_parser("facts", help="show what this machine is and can do, as the controller is told")
    look.add_argument("--measure", action="store_true", help="measure the hardware first: some seconds of one core")
    look.add_argument("--json", action="store_true", help="print JSON")
    put = commands.add_parser("install", help="run as a service from boot on", description=_INSTALL)
    put.add_argument("--controller-url", required=True, metavar="URL", help="the controller's door, https://host:port")
    tokens = put.add_mutually_exclusive_group()
    tokens.add_argument(
        "--token",
        default="",
        help="the enrolment token, or - to read it from the standard input;"
        " what stands on a command line is visible to every user of this machine",
    )
    tokens.add_argument("--token-file", type=Path, metavar="FILE", help="read the token from this file")
    put.add_argument("--instance", default="", metavar="NAME", help="tells several agents on one machine apart")
    put.add_argument("--data", default="", metavar="FOLDER", help="folder of local data sets")
    put.add_argument("--runtimes", default="", metavar="NAMES", help="offer these installed runtimes only: a,b")
    put.add_argument("--devices", action="store_true", help="let the service use accelerators (GPU, NPU, USB)")
    put.add_argument("--python", default=sys.executable, metavar="FILE", help="the Python that has Shoal; this one")
    put.add_argument("--no-start", action="store_true", help="write everything, start it at the next boot only")
    put.add_argument("--dry-run", action="store_true", help="show what would be written, without the token")
    take = commands.add_parser(
        "uninstall", help="stop the service and take it off", description="Undo an installation."
    )
    take.add_argument("--purge", action="store_true", help="drop the state too: the device's key, journal and models")
    for one in (put, take):
        one.add_argument("--root", type=Path, default=Path("/"), metavar="FOLDER", help="root of a mounted image; /")
        one.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _install(options: argparse.Namespace) -> int:
    from agent import install, systemd  # for these commands alone

    order = install.Order(
        controller_url=options.controller_url,
        token=install.read_token(_token_bytes(options)) if options.token or options.token_file else "",
        instance=options.instance,
        data=options.data,
        runtimes=options.runtimes,
        root=options.root,
        python=options.python,
        sees_devices=options.devices,
    )
    if options.dry_run:
        files = install.plan(order)
        shown = [
            {"path": str(file.path), "mode": f"{file.mode:04o}", "text": "(hidden)\n" if file.is_secret else file.text}
            for file in files
        ]
        texts = [f"# {one['path']} ({one['mode']})\n{one['text']}\n" for one in shown]
        sys.stdout.write(json.dumps(shown, indent=2) + "\n" if options.json else "".join(texts))
        return 0
    install.check_root()
    running = systemd.running(options.root)
    return _tell(install.install(order, systemd=running, starts=not options.no_start), as_json=options.json)


def _uninstall(options: argparse.Namespace) -> int:
    from agent import install, systemd

    install.check_root()
    running = systemd.running(options.root)
    return _tell(install.uninstall(options.root, systemd=running, purge=options.purge), as_json=options.json)


def _token_bytes(options: argparse.Namespace) -> bytes:
    if options.token_file:
        with options.token_file.open("rb") as file:
            return bytes(file.read(_MAX_TOKEN_BYTES))
    if options.token != "-":  # noqa: S105 (the word for the standard input, no secret)
        return str(options.token).encode(errors="replace")
    if sys.stdin.isatty():
        return getpass.getpass("Enrolment token: ").encode()
    return sys.stdin.buffer.readline(_MAX_TOKEN_BYTES)


def _tell(outcome: "Outcome", *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps(asdict(outcome), indent=2) + "\n")
        return 0
    for verb, paths in (("wrote", outcome.changed), ("removed", outcome.removed), ("left", outcome.left)):
        for path in paths:
            sys.stdout.write(f"{verb:8} {path}\n")
    if not outcome.changed and not outcome.removed:
        sys.stdout.write("Nothing had to change.\n")
    if outcome.started:
        sys.stdout.write("The agent runs: shoal-agent status tells how it stands.\n")
    for sentence in outcome.remains:
        sys.stdout.write(f"{sentence}\n")
    return 0


async def _look(settings: Settings, *, measures: bool) -> Facts:
    if measures:
        await kept.measure(settings, anew=True)
    url = status.read(settings)["controller_url"]
    around = await survey(settings, boot_id=boot_id(), controller_url=url)
    return read_facts(settings, "", around)


async def _work(settings: Settings, *, enroll_only: bool) -> None:
    identity = Identity.open(settings.state)
    if identity.enrolled is None:
        await enroll(settings, identity)
        if not enroll_only:
            # Without what only enrolment needed: an enrolled agent mostly idles, and is to be small then.
            _begin_anew()
    if not enroll_only:
        memory.use_one_arena()
        if await Agent(settings, identity).run():
            _begin_anew()


def _begin_anew() -> None:
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this very command again)


if __name__ == "__main__":
    sys.exit(main())
