"""The only reader of the environment. Each setting is `SHOAL_<NAME>`; units stand in the names."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from controller.errors import Invalid


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a controller process is told from outside.

    Attributes:
        state: Folder of the CA, the signing key, and of the embedded database and blobs.
        database_url: SQLAlchemy URL; empty: SQLite in `state`.
        broker_url: `mqtt://[user:password@]host:port` or `mqtts://...` (then with the controller's certificate).
        device_broker_url: What devices are told; empty: `broker_url`.
        blobs_url: `file:///...` or an S3 URL; empty: the folder `blobs` in `state`.
        ray_address: `auto` or a cluster's address; empty: a local Ray, started at the first job.
        api_host, api_port, device_host, device_port: The operators' door, and the devices' door (HTTPS).
        device_url: What devices call the devices' door; empty: `https://<device_host>:<device_port>`.
        controller_name: `controller-<n>`; the broker knows this process by it.
        allow_unisolated: Open uploaded programs where the sandbox is missing.
        certificate_lifetime_s: Lifetime of a device's certificate, which is renewed after two thirds of it.
        max_upload_bytes: Largest artifact that is taken.
        offer_timeout_s: How long an online device may take to accept work.
        event_kept_s: How long it is remembered what happened; the audit is kept for ever.
        telemetry_bytes_per_day: What each device may send of it; more is dropped.
        telemetry_raw_s: How long messages of telemetry are kept as they came.
        telemetry_rollup_step_s, telemetry_rollup_s: Over which time samples are summed up, and how long sums are kept.
        alert_kept_s: How long an alert that is resolved is kept.
        tick_interval_s: How often timers are looked at.
    """

    state: Path = Path.home() / ".local/state/shoal/controller"
    database_url: str = ""
    broker_url: str = "mqtt://127.0.0.1:1883"
    device_broker_url: str = ""
    blobs_url: str = ""
    ray_address: str = ""
    ray_cpus: int = 2
    api_host: str = "127.0.0.1"
    api_port: int = 8080
    device_host: str = "127.0.0.1"
    device_port: int = 8443
    device_url: str = ""
    controller_name: str = "controller-1"
    allow_unisolated: bool = False
    certificate_lifetime_s: float = 30 * 86_400.0
    max_upload_bytes: int = 4 * 2**30
    offer_timeout_s: float = 30.0
    event_kept_s: float = 90 * 86_400.0
    telemetry_bytes_per_day: int = 8 * 2**20
    telemetry_raw_s: float = 86_400.0
    telemetry_rollup_step_s: int = 900
    telemetry_rollup_s: float = 90 * 86_400.0
    alert_kept_s: float = 90 * 86_400.0
    tick_interval_s: float = 1.0
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> Self:
        """Read `SHOAL_*`.

        Raises:
            Invalid: `settings.invalid`, naming the variable.
        """
        source = dict(os.environ) if environment is None else environment
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = f"SHOAL_{field.name.upper()}"
            if source.get(name, "") != "":
                values[field.name] = _parse(name, source[name], hints[field.name])
        return cls(**values)

    def resolved_database_url(self) -> str:
        """Give the database's URL, the embedded one where none is set."""
        return self.database_url or f"sqlite:///{self.state.absolute() / 'shoal.db'}"

    def resolved_blobs_url(self) -> str:
        """Give the blob store's URL, the embedded one where none is set."""
        return self.blobs_url or (self.state.absolute() / "blobs").as_uri()

    def resolved_device_url(self) -> str:
        """Give the address of the devices' door as devices see it."""
        return self.device_url or f"https://{self.device_host}:{self.device_port}"


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        if kind is Path:
            return Path(text).expanduser()
        return kind(text)
    except (KeyError, ValueError) as error:
        raise Invalid("settings.invalid", f"{name}={text!r} is not a valid {kind.__name__}.", variable=name) from error
