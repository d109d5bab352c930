"""The only reader of the agent's environment. Each setting is `SHOAL_AGENT_<NAME>`; units stand in the names."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from agent.errors import AgentError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an agent is told from outside.

    Attributes:
        state: Folder of the key, the journal and the artifacts.
        controller_url: The devices' door, `https://host:port`; needed until the device is enrolled, kept after that.
        token: The enrolment token; needed until the device is enrolled.
        runtimes: Names that narrow the installed runtimes, comma-separated; empty: all that are installed.
        data: Folder of local data sets; empty: `data` in `state`.
        inference_host, inference_port: Where the Open Inference Protocol is served; port 0: a free one, then kept.
    """

    state: Path = Path.home() / ".local/state/shoal/agent"
    controller_url: str = ""
    token: str = ""
    runtimes: str = ""
    data: str = ""
    inference_host: str = "127.0.0.1"
    inference_port: int = 0
    telemetry_interval_s: float = 60.0
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> Self:
        """Read `SHOAL_AGENT_*`.

        Raises:
            AgentError: `settings.invalid`, naming the variable.
        """
        source = dict(os.environ) if environment is None else environment
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = f"SHOAL_AGENT_{field.name.upper()}"
            if text := source.get(name, ""):
                kind = hints[field.name]
                try:
                    values[field.name] = Path(text).expanduser() if kind is Path else kind(text)
                except ValueError as error:
                    message = f"{name}={text!r} is not a valid {kind.__name__}."
                    raise AgentError("settings.invalid", message, is_final=True) from error
        return cls(**values)

    def data_folder(self) -> Path:
        """Give the folder of local data sets."""
        return Path(self.data).expanduser() if self.data else self.state / "data"

    def narrowed(self) -> set[str]:
        """Give the runtimes that are allowed; empty: no restriction."""
        return {name.strip() for name in self.runtimes.split(",") if name.strip()}
