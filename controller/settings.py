"""The only reader of the environment. Each setting is `SHOAL_<NAME>`; units stand in the names."""

import os
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Self, get_type_hints
from urllib.parse import urlsplit

from controller.errors import Invalid

_MAX_COPY_BYTES: Final = 5 * 2**30  # of CopyObject; Amazon S3 API reference


@dataclass(frozen=True, kw_only=True)
class BlobsAt:
    """Where the blobs are, and how they are reached. Travels to Ray's workers with each job.

    Attributes:
        url: `file:///folder` or `s3://bucket/prefix`.
        endpoint: Of an S3-compatible store; empty: Amazon's own.
        region: Empty: `us-east-1`.
        access_key_id, secret_access_key: Both empty: what the machine or the pod has been given (`AWS_*`, its role).
        allow_http: Whether the endpoint may be spoken to without TLS.
        ca_pem: A CA that is trusted beside the system's.
        redirect: Whether who fetches is sent to the store by a presigned link.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    allow_http: bool = False
    ca_pem: str = field(default="", repr=False)
    redirect: bool = True


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a controller process is told from outside.

    Attributes:
        state: Folder of the CA, the signing key, and of the embedded database and blobs.
        database_url: SQLAlchemy URL; empty: SQLite in `state`.
        broker_url: `mqtt://[user:password@]host:port` or `mqtts://...` (then with the controller's certificate).
        device_broker_url: What devices are told; empty: `broker_url`.
        blobs_url: `file:///...` or `s3://bucket/prefix`; empty: the folder `blobs` in `state`.
        blobs_endpoint, blobs_region: Of an S3-compatible store; empty: Amazon's own, `us-east-1`.
        blobs_access_key_id, blobs_secret_access_key: Of the store; empty: what `AWS_*` or the machine's role gives.
        blobs_allow_http: Speak to an endpoint that is not on this machine without TLS.
        blobs_ca: PEM file of a CA that is trusted for the endpoint beside the system's.
        blobs_redirect: Send devices and callers to the S3 store by presigned links; else the bytes go through here.
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
        boards_file: Catalogue of boards in place of Shoal's own (docs/profiles.md).
        artifact_grace_s: How long bytes stay that nothing names: uploads that are not used yet.
        log_kept_s: How long logs that were collected from devices can be read.
        tick_interval_s: How often timers are looked at.
    """

    state: Path = Path.home() / ".local/state/shoal/controller"
    database_url: str = ""
    broker_url: str = "mqtt://127.0.0.1:1883"
    device_broker_url: str = ""
    blobs_url: str = ""
    blobs_endpoint: str = ""
    blobs_region: str = ""
    blobs_access_key_id: str = field(default="", repr=False)
    blobs_secret_access_key: str = field(default="", repr=False)
    blobs_allow_http: bool = False
    blobs_ca: str = ""
    blobs_redirect: bool = True
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
    boards_file: str = ""
    artifact_grace_s: float = 86_400.0
    log_kept_s: float = 30 * 86_400.0
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
        for one in fields(cls):
            name = f"SHOAL_{one.name.upper()}"
            if source.get(name, "") != "":
                values[one.name] = _parse(name, source[name], hints[one.name])
        return cls(**values)

    def resolved_database_url(self) -> str:
        """Give the database's URL, the embedded one where none is set."""
        return self.database_url or f"sqlite:///{self.state.absolute() / 'shoal.db'}"

    def blobs_at(self) -> BlobsAt:
        """Give where the blobs are: the embedded folder where nothing is set.

        Raises:
            Invalid: `settings.invalid`, naming the variable.
        """
        url = urlsplit(self.blobs_url)
        if url.scheme not in ("", "file", "s3") or (self.blobs_url and not url.scheme):
            raise _invalid("SHOAL_BLOBS_URL", "is file:///folder or s3://bucket/prefix")
        if url.scheme != "s3":
            return BlobsAt(url=self.blobs_url or (self.state.absolute() / "blobs").as_uri())
        if not url.hostname or url.query or "@" in url.netloc:
            raise _invalid("SHOAL_BLOBS_URL", "names a bucket, and no key: s3://bucket/prefix")
        if self.max_upload_bytes > _MAX_COPY_BYTES:
            raise _invalid(
                "SHOAL_MAX_UPLOAD_BYTES", f"is at most {_MAX_COPY_BYTES} on S3, which copies no more at once"
            )
        if bool(self.blobs_access_key_id) != bool(self.blobs_secret_access_key):
            raise _invalid("SHOAL_BLOBS_ACCESS_KEY_ID", "and SHOAL_BLOBS_SECRET_ACCESS_KEY come together")
        return BlobsAt(
            url=self.blobs_url,
            endpoint=self.blobs_endpoint,
            region=self.blobs_region,
            access_key_id=self.blobs_access_key_id,
            secret_access_key=self.blobs_secret_access_key,
            allow_http=self._may_use_http(),
            ca_pem=_read_pem("SHOAL_BLOBS_CA", self.blobs_ca),
            redirect=self.blobs_redirect,
        )

    def _may_use_http(self) -> bool:
        """Tell whether the store is spoken to without TLS: on this machine, or where it was allowed."""
        endpoint = urlsplit(self.blobs_endpoint)
        if self.blobs_endpoint and (endpoint.scheme not in ("http", "https") or not endpoint.hostname):
            raise _invalid("SHOAL_BLOBS_ENDPOINT", "is https://host:port")
        if endpoint.scheme != "http":
            return False
        if not self.blobs_allow_http and not _is_loopback(endpoint.hostname or ""):
            raise _invalid(
                "SHOAL_BLOBS_ENDPOINT", "is https:// unless it is on this machine or SHOAL_BLOBS_ALLOW_HTTP=1"
            )
        return True

    def resolved_device_url(self) -> str:
        """Give the address of the devices' door as devices see it."""
        return self.device_url or f"https://{self.device_host}:{self.device_port}"


def _invalid(variable: str, meaning: str) -> Invalid:
    return Invalid("settings.invalid", f"{variable} {meaning}.", variable=variable)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_pem(variable: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(variable, f"names no readable PEM file: {error}") from error


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        if kind is Path:
            return Path(text).expanduser()
        return kind(text)
    except (KeyError, ValueError) as error:
        raise Invalid("settings.invalid", f"{name}={text!r} is not a valid {kind.__name__}.", variable=name) from error
