"""What `shoal-agent status` shows: what the journal holds, and what the running agent says of itself in a small file.

The file is written when something in it has changed, without forcing it onto the disk: after a power cut nothing of it
is true any more.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from agent import VERSION
from agent.facts import boot_id, offered_runtimes
from agent.identity import Identity
from agent.inference import Watched
from agent.journal import Journal
from agent.settings import Settings

_INTERVAL_S: Final = 2.0


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What only the running agent knows.

    Attributes:
        pid, boot_id: Of its process, and of the machine's boot in which that number counts.
        last_error: Why there is, or last was, no session with the broker.
        progress: How far the open executions are that are being worked on, 0..1 and in words.
        monitors: Those of the models that serve.
    """

    pid: int
    boot_id: str
    is_connected: bool
    last_error: str
    progress: dict[str, tuple[float, str]]
    monitors: list[Watched]


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
    """Give what there is to show, as JSON has it."""
    status: dict[str, Any] = {"agent_version": VERSION, "state_folder": str(settings.state), "enrolled": False}
    if not (settings.state / "device.key").exists():
        return status
    identity = Identity.open(settings.state)
    if identity.enrolled is None:
        return status
    live = _live(settings)
    journal = Journal(settings.state / "journal.db")
    status |= {
        "enrolled": True,
        "device_id": identity.device_id,
        "controller_url": identity.enrolled.controller_url,
        "certificate_expires_at": identity.certificate_expires_at(),
        "runtimes": offered_runtimes(settings),
        "running": live is not None,
        "connected": live is not None and live.is_connected,
        "last_error": "" if live is None else live.last_error,
        "sessions": int(journal.get("session") or b"0"),
        "messages_waiting": len(journal.messages(limit=10_000)),
        "slots": [msgspec.to_builtins(slot) for slot in journal.slots()],
        "executions": _executions(journal, live),
        "monitors": [] if live is None else msgspec.to_builtins(live.monitors),
    }
    journal.close()
    return status


def screen(status: dict[str, Any]) -> str:
    """Write a status for people: one line a thing."""
    lines = [(name.replace("_", " "), str(value)) for name, value in status.items() if not isinstance(value, list)]
    for slot in status.get("slots", []):
        variant = slot["variant"]
        what = f"{variant['model']}/{variant['version']} {variant['recipe']} on {variant['runtime']}"
        lines.append((f"slot {slot['slot']}", f"{slot['state']:12} {what} {slot['message']}"))
    for one in status.get("executions", []):
        what = f"{one['type']} {one['execution_id']}, attempt {one['attempt']}"
        lines.append(("execution", f"{one['progress']:>4.0%} {what} {one['message']}"))
    for one in status.get("monitors", []):
        index = one["population_stability_index"]
        stands = "not enough samples yet" if index is None else f"index {index:.3f} of {one['threshold']}"
        crossed = f", crossed at sample {one['crossing']['samples']}" if one["crossing"] else ""
        lines.append((f"monitor {one['model']}/{one['version']}", f"{one['samples']} samples, {stands}{crossed}"))
    return "".join(f"{name:24} {value}".rstrip() + "\n" for name, value in lines)


def _executions(journal: Journal, live: Live | None) -> list[dict[str, Any]]:
    progress = {} if live is None else live.progress
    found = []
    for offer in journal.open_offers():
        share, message = progress.get(offer.execution_id, (0.0, ""))
        found.append(
            {
                "execution_id": offer.execution_id,
                "type": offer.type.value,
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
