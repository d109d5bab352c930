"""Puts the agent onto a machine, or into a mounted image of one, as a service of systemd; and takes it off again.

A repeated installation writes only what differs. Not here: what the service may do (`systemd`), and enrolment, which
the service does itself at its first start.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from agent.errors import AgentError
from agent.hardware.digest import DMI_IDS
from agent.identity import write_atomically
from agent.settings import DEFAULT_CONFIG, check, read_config
from agent.systemd import NAME, STATE_FOLDER, Systemd, unit_text

_TOKEN: Final = Path("/etc/shoal/token")
_UNIT: Final = Path("/etc/systemd/system") / NAME
_ENABLED: Final = Path("/etc/systemd/system/multi-user.target.wants") / NAME
_STATE: Final = Path(STATE_FOLDER)
_PRIVATE_STATE: Final = Path("/var/lib/private/shoal-agent")
_DEVICE_GROUPS: Final = ("video", "render", "apex", "plugdev")  # GPUs and NPUs; Coral; accelerators on USB
_SHUT: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (what the unit hides from the agent)
_MAX_TOKEN_BYTES: Final = 256
_HEADER: Final = "# Written by `shoal-agent install`. Keys that it has no option for are kept, comments are not.\n"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to install.

    Attributes:
        token: Empty: the one that lies there already, if any.
        data, runtimes, instance: As in the settings; empty: not set.
        root: The root folder of the machine, or of a mounted image of one.
        python: The Python that has Shoal, as the machine itself names it.
        sees_devices: Whether the service may use accelerators.
    """

    controller_url: str
    token: str = field(default="", repr=False)
    instance: str = ""
    data: str = ""
    runtimes: str = ""
    root: Path = Path("/")
    python: str = sys.executable
    sees_devices: bool = False


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to be there, named as the machine itself names it."""

    path: Path
    text: str = field(repr=False)
    mode: int
    is_secret: bool = False


@dataclass(kw_only=True)
class Outcome:
    """What was done.

    Attributes:
        changed, unchanged, removed, left: Files and folders.
        started: The service was told to run.
        remains: What a person still has to do, a sentence each.
    """

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    started: bool = False
    remains: list[str] = field(default_factory=list)


def check_root() -> None:
    """Refuse whoever may not install.

    Raises:
        AgentError: `install.not_root`.
    """
    if os.geteuid() != 0:
        raise AgentError("install.not_root", "Only root may do this: run it again with sudo.", is_final=True)


def read_token(text: bytes) -> str:
    """Check an enrolment token's shape; the message never shows it.

    Raises:
        AgentError: `token.malformed`.
    """
    token = text.decode(errors="replace").strip()
    if len(text) > _MAX_TOKEN_BYTES or not re.fullmatch(r"[A-Za-z0-9_-]+\.[0-9a-f]{64}", token):
        message = "That is no enrolment token, <secret>.<64 hex digits>: copy it whole, as it was shown."
        raise AgentError("token.malformed", message, is_final=True)
    return token


def plan(order: Order) -> list[File]:
    """Give the files to write, in their order; writes nothing.

    Raises:
        AgentError: `settings.invalid`, `install.unreachable`, `token.malformed`, naming what is wrong.
    """
    _check_url(order.controller_url)
    _check_python(order)
    asked = {"controller_url": order.controller_url.rstrip("/"), "state": STATE_FOLDER}
    for name in ("instance", "data", "runtimes"):
        if value := getattr(order, name):
            asked[name] = check(f"--{name}", name, value)
    if order.data and (not Path(order.data).is_absolute() or _is_shut(Path(order.data))):
        message = f"The service cannot reach --data {order.data}: name an absolute path outside {', '.join(_SHUT)}."
        raise AgentError("install.unreachable", message, is_final=True)
    config = _below(order.root, DEFAULT_CONFIG)
    kept = read_config(config) if config.exists() else {}
    token = order.token or kept.get("token", "")
    for name in (*asked, "token", "instance", "data", "runtimes"):
        kept.pop(name, None)
    files = [File(path=DEFAULT_CONFIG, text=_HEADER + _toml(asked | kept), mode=0o644)]
    if token:  # first, as the settings may have held it until now
        files.insert(0, File(path=_TOKEN, text=read_token(token.encode()) + "\n", mode=0o600, is_secret=True))
    credentials = {"token": str(_TOKEN)} | {name: f"/sys/class/dmi/id/{name}" for name in DMI_IDS}
    text = unit_text(
        python=order.python,
        config=str(DEFAULT_CONFIG),
        credentials=credentials,
        devices=_device_groups(order.root) if order.sees_devices else None,
    )
    return [*files, File(path=_UNIT, text=text, mode=0o644)]


def install(order: Order, *, systemd: Systemd | None, starts: bool = True) -> Outcome:
    """Write what differs, and have the service run with it.

    Args:
        systemd: Who starts the service; None: nobody here.
        starts: Whether it is started now; it starts at the next boot in any case.

    Raises:
        AgentError: As `plan`; `install.systemd_failed`.
    """
    outcome = Outcome()
    link = _below(order.root, _ENABLED)
    for target, file in [(_below(order.root, file.path), file) for file in plan(order)]:
        (outcome.changed if _put(target, file) else outcome.unchanged).append(str(file.path))
    is_new = _enable(link)
    (outcome.changed if is_new else outcome.unchanged).append(str(_ENABLED))
    if not _below(order.root, _TOKEN).exists() and _enrolled_id(order.root) is None:
        outcome.remains.append(f"Write the enrolment token into {_TOKEN} (mode 0600), or install again with --token.")
    if systemd is not None:
        systemd.tell("daemon-reload")
        if starts:
            systemd.tell("restart" if outcome.changed else "start", NAME)
            outcome.started = True
        else:
            outcome.remains.append(f"Start it: systemctl restart {NAME}")
    elif order.root == Path("/"):
        outcome.remains.append("systemd does not run this machine now: the agent starts when systemd boots it.")
    return outcome


def uninstall(root: Path, *, systemd: Systemd | None, purge: bool) -> Outcome:
    """Stop the service and take its files away; the state folder (key, journal, artifacts) goes only with `purge`.

    Raises:
        AgentError: `install.systemd_failed`.
    """
    outcome = Outcome()
    device_id = _enrolled_id(root)
    if systemd is not None and _below(root, _UNIT).exists():
        systemd.tell("stop", NAME)
    for path in (_ENABLED, _UNIT, DEFAULT_CONFIG, _TOKEN):
        _remove(root, path, outcome)
    with suppress(OSError):  # something else lies in it
        _below(root, _TOKEN).parent.rmdir()
    if systemd is not None:
        systemd.tell("daemon-reload")
    if purge:
        _remove(root, _STATE, outcome)
        _remove(root, _PRIVATE_STATE, outcome)
        if device_id is not None:
            outcome.remains.append(f"Retire {device_id} at the controller: its key is gone.")
    drop_ins = _UNIT.with_name(f"{NAME}.d")
    outcome.left = [str(path) for path in (_TOKEN.parent, drop_ins, _STATE) if os.path.lexists(_below(root, path))]
    return outcome


def _check_url(url: str) -> None:
    check("--controller-url", "controller_url", url)
    with suppress(ValueError):
        parts = urlsplit(url)
        is_plain = not (parts.username or parts.password or parts.query or parts.fragment or " " in url)
        if parts.scheme == "https" and parts.hostname and parts.port != 0 and parts.path in ("", "/") and is_plain:
            return
    message = f"--controller-url is {url!r}; it must be https://host:port, the controller's door for devices."
    raise AgentError("settings.invalid", message, is_final=True)


def _check_python(order: Order) -> None:
    """Refuse a Python that the service could not start: hidden from it, not there, or closed to other users."""
    python = Path(order.python)
    if not re.fullmatch(r"/[A-Za-z0-9._+/-]+", order.python):
        message = f"--python is {order.python!r}; it must be an absolute path of letters, digits and . _ + - /"
        raise AgentError("settings.invalid", message, is_final=True)
    if not os.path.lexists(_below(order.root, python)):
        message = f"There is no {python} below {order.root}: install Shoal there first, or name its Python by --python."
        raise AgentError("install.unreachable", message, is_final=True)
    needed = [python]
    if order.root == Path("/"):
        needed.append(python.resolve())
        if order.python == sys.executable:
            needed += [Path(sys.base_prefix).resolve(), Path(__file__).resolve()]
    for path in needed:
        if _is_shut(path) or (order.root == Path("/") and not _is_open(path)):
            message = (
                f"The service cannot reach {path}, which belongs to one user: install Shoal for all, such as by"
                " `python3 -m venv /opt/shoal` with a system's Python, and run its shoal-agent install."
            )
            raise AgentError("install.unreachable", message, is_final=True)


def _is_shut(path: Path) -> bool:
    return any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in _SHUT)


def _is_open(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(path.stat().st_mode & 0o004)


def _device_groups(root: Path) -> list[str]:
    """Give the groups of accelerators that the machine knows; systemd starts no service with an unknown one."""
    text = ""
    with suppress(OSError):
        text = _below(root, Path("/etc/group")).read_text(errors="replace")
    known = {line.partition(":")[0] for line in text.splitlines()}
    return [name for name in _DEVICE_GROUPS if name in known]


def _below(root: Path, path: Path) -> Path:
    """Give where a path of the machine lies here; a link in an image must not lead out of it.

    Raises:
        AgentError: `install.unreachable`.
    """
    found = root / path.relative_to("/")
    if not found.parent.resolve().is_relative_to(root.resolve()):
        message = f"{found.parent} leads out of {root}: make it a folder or a relative link there."
        raise AgentError("install.unreachable", message, is_final=True)
    return found


def _put(target: Path, file: File) -> bool:
    """Write a file if it is not so already; tells whether it was written."""
    data = file.text.encode()
    with suppress(FileNotFoundError):
        if not target.is_symlink() and target.stat().st_mode & 0o7777 == file.mode and target.read_bytes() == data:
            return False
    _make_folder(target.parent)
    write_atomically(target, data)
    target.chmod(file.mode)
    return True


def _enable(link: Path) -> bool:
    """Do what `systemctl enable` does, which an image has nobody to do."""
    if link.is_symlink() and str(link.readlink()) == str(_UNIT):
        return False
    _make_folder(link.parent)
    draft = link.with_name(f".{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(_UNIT)
    draft.replace(link)
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder that every user may enter, whatever the caller's umask."""
    for missing in [one for one in (*reversed(folder.parents), folder) if not one.exists()]:
        missing.mkdir()
        missing.chmod(0o755)


def _remove(root: Path, path: Path, outcome: Outcome) -> None:
    target = _below(root, path)
    if not os.path.lexists(target):
        return
    remove: Callable[[Path], object] = shutil.rmtree if target.is_dir() and not target.is_symlink() else Path.unlink
    remove(target)
    outcome.removed.append(str(path))


def _enrolled_id(root: Path) -> str | None:
    """Give the device's id if the service has enrolled it."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        return str(json.loads(_below(root, _PRIVATE_STATE / "enrolled.json").read_bytes())["device_id"])
    return None


def _toml(values: dict[str, Any]) -> str:
    """Write settings; a JSON string without control characters is a TOML string, and so are the numbers."""
    lines = []
    for name, value in sorted(values.items()):
        lines.append(f"{name} = {json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)}\n")
    return "".join(lines)
