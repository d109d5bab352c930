"""What `shoal-agent status` shows: what the journal holds, and what the running agent says of itself in a small file.

The file is written when something in it has changed, without forcing it onto the disk: after a power cut nothing of it
is true any more.
"""

import asyncio
import os
import socket
import textwrap
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import psutil

from agent import VERSION
from agent.errors import AgentError
from agent.facts import boot_id, offered_runtimes
from agent.hardware.digest import hardware_id
from agent.identity import Identity
from agent.inference import Watched
from agent.journal import MAX_OUTBOX, Journal
from agent.settings import Settings

_INTERVAL_S: Final = 2.0
_NAMES_WIDTH: Final = 14


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What only the running agent knows.

    Attributes:
        pid, boot_id: Of its process, and of the machine's boot in which that number counts.
        last_error: Why there is, or last was, no session with the broker.
        waiting: What the device waits for before it can work: an operator's approval, an end of its suspension.
        progress: How far the open executions are that are being worked on, 0..1 and in words.
        monitors: Those of the models that serve.
    """

    pid: int
    boot_id: str
    is_connected: bool
    last_error: str
    progress: dict[str, tuple[float, str]]
    monitors: list[Watched]
    waiting: str = ""

    @classmethod
    def of_enrolling(cls, waiting: str) -> Self:
        """Say that this process has no identity yet, and what it waits for."""
        return cls(
            pid=os.getpid(),
            boot_id=boot_id(),
            is_connected=False,
            last_error="",
            progress={},
            monitors=[],
            waiting=waiting,
        )


async def keep_told(settings: Settings, look: Callable[[], Live]) -> None:
    """Keep the file true until canceled; then drop it."""
    path = _path(settings)
    told = b""
    try:
        while True:
            now = msgspec.json.encode(look())
            if now != told:
                with suppress(OSError):  # a full disk costs the status, not the agent; it is tried again
                    draft = path.with_suffix(".new")
                    draft.write_bytes(now)
                    draft.replace(path)
                    told = now
            await asyncio.sleep(_INTERVAL_S)
    finally:
        path.unlink(missing_ok=True)


def read(settings: Settings) -> dict[str, Any]:
    """Give what there is to show, as JSON has it.

    Raises:
        AgentError: `status.forbidden`.
    """
    try:
        return _read(settings)
    except PermissionError as error:
        message = f"{error.filename or settings.state} is closed to this user: run it with sudo."
        raise AgentError("status.forbidden", message, is_final=True) from error


def _read(settings: Settings) -> dict[str, Any]:
    live = _live(settings)
    status: dict[str, Any] = {
        "agent_version": VERSION,
        "hostname": socket.gethostname(),
        "enrolled": False,
        "device_id": None,
        "controller_url": settings.controller_url,
        "running": live is not None,
        "connected": live is not None and live.is_connected,
        "waiting": "" if live is None else live.waiting,
        "last_error": "" if live is None else live.last_error,
        "state_folder": str(settings.state),
        "settings_from": list(settings.sources),
        "runtimes": offered_runtimes(settings),
        "runtime_options": settings.options(),
        "hardware_id": hardware_id(settings),
        "instance": settings.instance,
        "certificate_expires_at": "",
        "sessions": 0,
        "messages_waiting": 0,
        "slots": [],
        "executions": [],
        "monitors": [] if live is None else msgspec.to_builtins(live.monitors),
    }
    if not (settings.state / "device.key").exists():
        return status
    enrolled = Identity.open(settings.state).enrolled
    if enrolled is None:
        return status
    status |= {
        "enrolled": True,
        "device_id": enrolled.device_id,
        "controller_url": enrolled.controller_url,
        "certificate_expires_at": enrolled.certificate_expires_at,
    }
    if (settings.state / "journal.db").exists():  # made by the agent alone: another user's would shut it out
        status |= _journaled(settings, live)
    return status


def screen(status: dict[str, Any], *, width: int = 100, now: datetime | None = None) -> str:
    """Write a status for people: who, whether it works and why not, with what, and what is going on.

    Args:
        width: Columns of the terminal; longer lines are broken below their beginning.
        now: For the certificate's end; the clock's, where it is not given.
    """
    lines = [
        ("agent", f"{status['agent_version']} on {status['hostname']}"),
        ("device", _device(status)),
        ("connection", _connection(status)),
    ]
    if status["waiting"]:
        lines.append(("waiting", status["waiting"]))
    if status["certificate_expires_at"]:
        lines.append(("certificate", _end(status["certificate_expires_at"], now or datetime.now(UTC))))
    hardware = status["hardware_id"][:12] if status["hardware_id"] else "nothing tells this machine apart"
    instance = f", instance {status['instance']}" if status["instance"] else ""
    options = ", ".join(f"{name} = {value}" for name, value in status["runtime_options"].items())
    lines += [
        ("hardware", hardware + instance),
        ("runtimes", ", ".join(f"{name} {version}" for name, version in status["runtimes"].items()) or "none"),
        *([("runtimes use", options)] if options else []),
        ("settings", ", ".join(status["settings_from"]) or "none set, all by default"),
        ("state folder", status["state_folder"]),
    ]
    if status["enrolled"]:
        lines.append(("sessions", f"{status['sessions']} so far; {_messages(status['messages_waiting'])} to be sent"))
    lines += [("slot", _slot(slot)) for slot in status["slots"]]
    lines += [("execution", _execution(one)) for one in status["executions"]]
    lines += [("monitor", _monitor(one)) for one in status["monitors"]]
    return "".join(_line(name, value, width) for name, value in lines)


def _device(status: dict[str, Any]) -> str:
    if status["enrolled"]:
        return f"{status['device_id']} at {status['controller_url']}"
    return f"not enrolled; the controller is {status['controller_url'] or 'not set'}"


def _connection(status: dict[str, Any]) -> str:
    if not status["running"]:
        return "the agent does not run"
    if status["connected"]:
        return f"connected, but {status['last_error']}" if status["last_error"] else "connected"
    return f"not connected: {status['last_error']}" if status["last_error"] else "not connected"


def _end(expires_at: str, now: datetime) -> str:
    days = (datetime.fromisoformat(expires_at) - now) / timedelta(days=1)
    when = f"({expires_at[:16].replace('T', ' ')} UTC)"
    if days < 0:
        return f"ended {_days(-days)} ago {when}"
    return f"ends in {_days(days)} {when}"


def _days(days: float) -> str:
    return f"{days * 24:.0f} h" if days < 2 else f"{days:.0f} days"


def _messages(count: int) -> str:
    return "no messages wait" if count == 0 else "1 message waits" if count == 1 else f"{count} messages wait"


def _slot(slot: dict[str, Any]) -> str:
    variant = slot["variant"]
    what = f"{slot['slot']} {slot['state']}: {variant['model']}/{variant['version']} {variant['recipe']}"
    said = f": {slot['message']}" if slot["message"] else ""
    return f"{what} on {variant['runtime']}{said}"


def _execution(one: dict[str, Any]) -> str:
    said = f": {one['message']}" if one["message"] else ""
    return f"{one['progress']:.0%} of {one['type']} {one['execution_id']}, attempt {one['attempt']}{said}"


def _monitor(one: dict[str, Any]) -> str:
    index = one["population_stability_index"]
    stands = "not enough samples yet" if index is None else f"index {index:.3f} of {one['threshold']}"
    crossed = f", crossed at sample {one['crossing']['samples']}" if one["crossing"] else ""
    return f"{one['model']}/{one['version']}: {one['samples']} samples, {stands}{crossed}"


def _line(name: str, value: str, width: int) -> str:
    """Write one thing, broken below its beginning; what a controller sent must not steer the terminal."""
    shown = "".join(sign if sign.isprintable() else " " for sign in value)
    columns = max(width - _NAMES_WIDTH, 40)
    parts = textwrap.wrap(shown, columns, break_on_hyphens=False) or [""]
    return "".join(f"{name if number == 0 else '':{_NAMES_WIDTH}}{part}\n" for number, part in enumerate(parts))


def _journaled(settings: Settings, live: Live | None) -> dict[str, Any]:
    journal = Journal(settings.state / "journal.db")
    try:
        return {
            "sessions": int(journal.get("session") or b"0"),
            "messages_waiting": len(journal.messages(limit=MAX_OUTBOX)),
            "slots": [msgspec.to_builtins(slot) for slot in journal.slots()],
            "executions": _executions(journal, live),
        }
    finally:
        journal.close()


def _executions(journal: Journal, live: Live | None) -> list[dict[str, Any]]:
    progress = {} if live is None else live.progress
    found = []
    for offer in journal.open_offers():
        share, message = progress.get(offer.execution_id, (0.0, ""))
        found.append(
            {
                "execution_id": offer.execution_id,
                "type": offer.type,
                "attempt": offer.attempt,
                "progress": share,
                "message": message,
            }
        )
    return found


def _live(settings: Settings) -> Live | None:
    """Give what the agent says, None where none runs (a killed one leaves its file)."""
    try:
        live = msgspec.json.decode(_path(settings).read_bytes(), type=Live)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return live if live.boot_id == boot_id() and psutil.pid_exists(live.pid) else None


def _path(settings: Settings) -> Path:
    return settings.state / "live.json"
