"""The only reader of the agent's environment and of its file. Units stand in the names.

The environment (`SHOAL_AGENT_<NAME>`) stands above the file (TOML, the names are its keys), the file above the
defaults. A token on a device lies in a file of its own, so that only systemd or root can read it.
"""

import logging
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self, get_type_hints

from agent.errors import AgentError
from shoal.wire.runtimes import FORMATS

DEFAULT_CONFIG: Final = Path("/etc/shoal/agent.toml")
_MAX_FILE_BYTES: Final = 64 * 1024
_FOUND: Final = frozenset({"credentials", "sources"})  # fields that nobody sets by name
_OPTION: Final = rf"({'|'.join(FORMATS)})\.[a-z]{{1,32}}=[^,\s][^,]{{0,199}}"
_RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "instance": (
        lambda value: re.fullmatch(r"[A-Za-z0-9._-]{0,64}", value) is not None,
        "at most 64 letters, digits, dots, underscores and hyphens",
    ),
    "inference_port": (lambda value: 0 <= value <= 65535, "a port, 0 to 65535"),
    "telemetry_interval_s": (lambda value: math.isfinite(value) and value > 0, "a number of seconds above 0"),
    "telemetry_send_interval_s": (lambda value: math.isfinite(value) and value > 0, "a number of seconds above 0"),
    "telemetry_bytes_per_day": (lambda value: 0 <= value <= 2**40, "a number of bytes, 0 to 2^40"),
    "runtime_options": (
        lambda value: value == "" or re.fullmatch(_OPTION + "(," + _OPTION + "){0,15}", value) is not None,
        "runtime.option=value, at most 16 of them, comma-separated, of the runtimes and options in docs/runtimes.md",
    ),
    "measure": (lambda value: value in ("on", "off"), "on or off"),
    "blobs_http": (lambda value: value in ("on", "off"), "on or off"),
    "log_level": (lambda value: value in logging.getLevelNamesMapping(), "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an agent is told from outside.

    Attributes:
        state: Folder of the key, the journal and the artifacts.
        controller_url: The devices' door, `https://host:port`; needed until the device is enrolled, kept after that.
        token: The enrolment token; needed until the device is enrolled.
        token_file: File that holds the token; empty: `token` among systemd's credentials, if it is there.
        instance: Tells several agents on one machine apart; part of the hardware digest.
        runtimes: Names that narrow the installed runtimes, comma-separated; empty: all that are installed.
        runtime_options: What runtimes use on this machine, comma-separated: `openvino.device=NPU`.
        data: Folder of local data sets; empty: `data` in `state`.
        inference_host, inference_port: Where the Open Inference Protocol is served; port 0: a free one, then kept.
        telemetry_interval_s, telemetry_send_interval_s: How often the device is looked at, and how often what was seen
            is sent, together.
        telemetry_bytes_per_day: How much of it is sent; what is above that becomes sparser. 16 KiB are always allowed
            at once.
        measure: `on`: measure the hardware once, when the device is quiet; `off`: only when an operator asks for it.
        blobs_ca: PEM file of a CA that is trusted beside the system's for object stores that the controller leads to.
        blobs_http: `on`: such a store is asked without TLS, too; `off`: only on this machine.
        credentials: Folder in which systemd hands files to this service alone (`$CREDENTIALS_DIRECTORY`).
        sources: What was read, highest first: variables' names, then the file.
    """

    state: Path = field(default_factory=lambda: Path.home() / ".local/state/shoal/agent")
    controller_url: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    instance: str = ""
    runtimes: str = ""
    runtime_options: str = ""
    data: str = ""
    inference_host: str = "127.0.0.1"
    inference_port: int = 0
    telemetry_interval_s: float = 60.0
    telemetry_send_interval_s: float = 300.0
    telemetry_bytes_per_day: int = 512 * 1024
    measure: str = "on"
    blobs_ca: str = ""
    blobs_http: str = "off"
    log_level: str = "INFO"
    credentials: str = ""
    sources: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> Self:
        """Read `SHOAL_AGENT_*` and the file (`SHOAL_AGENT_CONFIG`, else `/etc/shoal/agent.toml` if it is there).

        Raises:
            AgentError: `settings.invalid`, naming the variable, or the file and its key.
        """
        source = dict(os.environ) if environment is None else environment
        told: dict[str, Any] = {}
        sources = []
        for name, kind in setting_kinds().items():
            variable = f"SHOAL_AGENT_{name.upper()}"
            if text := source.get(variable, ""):
                told[name] = check(variable, name, _parse(variable, kind, text))
                sources.append(variable)
        written: dict[str, Any] = {}
        config = source.get("SHOAL_AGENT_CONFIG", "") or (str(DEFAULT_CONFIG) if _is_there(DEFAULT_CONFIG) else "")
        if config:
            written = read_config(Path(config))
            sources.append(config)
        credentials = source.get("CREDENTIALS_DIRECTORY", "")
        try:
            return cls(
                **{**written, **told, "token": _token((told, written), credentials)},
                credentials=credentials,
                sources=tuple(sources),
            )
        except RuntimeError as error:  # where `state` has no default
            message = "This user has no home folder: set SHOAL_AGENT_STATE to the folder that the agent shall keep."
            raise AgentError("settings.invalid", message, is_final=True) from error

    def data_folder(self) -> Path:
        """Give the folder of local data sets."""
        return Path(self.data).expanduser() if self.data else self.state / "data"

    def narrowed(self) -> set[str]:
        """Give the runtimes that are allowed; empty: no restriction."""
        return {name.strip() for name in self.runtimes.split(",") if name.strip()}

    def options(self) -> dict[str, str]:
        """Give the runtimes' options by `runtime.option`."""
        told = (one.partition("=") for one in self.runtime_options.split(",") if one)
        return {name: value for name, _, value in told}

    def options_of(self, runtime: str) -> dict[str, str]:
        """Give a runtime's options by name.

        >>> Settings(runtime_options="openvino.device=NPU,litert.delegate=/usr/lib/a.so").options_of("openvino")
        {'device': 'NPU'}
        """
        told = {name.partition("."): value for name, value in self.options().items()}
        return {option: value for (of, _, option), value in told.items() if of == runtime}


def setting_kinds() -> dict[str, type]:
    """Give the settings that can be set by name, with the type of each."""
    hints = get_type_hints(Settings)
    return {one.name: hints[one.name] for one in fields(Settings) if one.name not in _FOUND}


def check(where: str, name: str, value: Any) -> Any:
    """Give a setting's value back if it can be one.

    Args:
        where: What the message names: a variable, a file and its key, an option.

    Raises:
        AgentError: `settings.invalid`.
    """
    if isinstance(value, str | Path) and not str(value).isprintable():
        raise _invalid(f"{where} contains a character that cannot be printed, such as the end of a line.")
    holds, meaning = _RULES.get(name, (lambda _: True, ""))
    if not holds(value):
        raise _invalid(f"{where} is {value!r}; it must be {meaning}.")
    return value


def read_config(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        AgentError: `settings.invalid`, naming the file and what in it is wrong.
    """
    import tomllib  # an agent that is told everything by its environment does without

    try:
        table = tomllib.loads(_read(path, "the settings"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _invalid(f"{path} is no TOML file: {str(error) or 'it is nested too deeply'}.") from error
    kinds = setting_kinds()
    values = {}
    for name, value in table.items():
        where = f"{path}: {name}"
        if name not in kinds:
            raise _invalid(f"{path} has the unknown key {name!r}; {_suggestion(name, list(kinds))}")
        if not _fits(kinds[name], value):
            raise _invalid(f"{where} is a TOML {type(value).__name__}; it must be {_NAMES[kinds[name]]}.")
        values[name] = check(where, name, _parse(where, kinds[name], value))
    return values


_NAMES: Final = {str: "a string", Path: "a string with a path", int: "an integer", float: "a number"}


def _fits(kind: type, value: object) -> bool:
    if isinstance(value, bool):  # which Python takes for an integer
        return False
    return isinstance(value, str if kind is Path else int | float if kind is float else kind)


def _parse(where: str, kind: type, value: Any) -> Any:
    try:
        return Path(value).expanduser() if kind is Path else kind(value)
    except (ValueError, RuntimeError, OverflowError) as error:
        raise _invalid(f"{where} is {value!r}; it must be {_NAMES[kind]}.") from error


def _token(layers: tuple[dict[str, Any], ...], credentials: str) -> str:
    """Give the token of the highest layer that has one, itself or by its file."""
    for layer in layers:
        if token := layer.get("token"):
            return str(token)
        if file := layer.get("token_file"):
            return _read(Path(file).expanduser(), "the token").strip()
    path = Path(credentials) / "token"
    return _read(path, "the token").strip() if credentials and _is_there(path) else ""


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _invalid(f"{path} is closed to this user ({error.strerror}): run it with sudo, or open it.") from error


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise _invalid(f"{path} has more than {_MAX_FILE_BYTES // 1024} KiB; is it the right file for {what}?")
        return data.decode()
    except OSError as error:
        raise _invalid(
            f"{path}, named for {what}, cannot be read ({error.strerror}): mend it or name another."
        ) from error
    except UnicodeDecodeError as error:
        raise _invalid(f"{path} is no text (UTF-8); is it the right file for {what}?") from error


def _suggestion(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(sorted(known))}."


def _invalid(message: str) -> AgentError:
    return AgentError("settings.invalid", message, is_final=True)
