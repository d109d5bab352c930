"""How a virtual fleet behaves: how long work takes, how often it fails, how often devices are away."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from agent.errors import AgentError

_Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)]
_Interval = Annotated[float, msgspec.Meta(ge=1.0, le=86_400.0)]
_PerDay = Annotated[float, msgspec.Meta(ge=0.0, le=100_000.0)]
_MAX_FILE_BYTES = 64 * 1024


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The behaviour. Durations are medians; each one is drawn from a log-normal distribution around it.

    Attributes:
        failure_ratio: Of rollout steps, rounds, incremental updates, profiles and commands other than `ping`: how many
            fail.
        rejection_ratio: Of rounds and incremental updates: how many are rejected for good.
        trial_s, load_s: How long a variant is tried or measured, and loaded.
        training_s: How long a round or an incremental update trains.
        benchmark_s, restart_s: How long these commands take.
        samples_per_s: How fast new labelled samples come, which incremental updates wait for.
        drift_ratio: Of the models that are watched: how many drift.
        drift_s: How long after loading they do.
        offline_per_day: How often a device loses its connection.
        offline_s: For how long.
        restarts_per_day: How often an agent begins anew by itself.
        sample_interval_s, telemetry_interval_s: How often figures are taken, and sent; 0 for the latter: never.
        downloads: `each`: every device fetches its artifacts itself; `once`: this process fetches each artifact
            once, so that the fleet is not limited by what one machine can take in.
    """

    failure_ratio: _Ratio = 0.0
    rejection_ratio: _Ratio = 0.0
    trial_s: _Seconds = 1.5
    load_s: _Seconds = 0.5
    training_s: _Seconds = 10.0
    benchmark_s: _Seconds = 5.0
    restart_s: _Seconds = 2.0
    samples_per_s: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)] = 5.0
    drift_ratio: _Ratio = 0.0
    drift_s: _Seconds = 600.0
    offline_per_day: _PerDay = 0.0
    offline_s: _Seconds = 300.0
    restarts_per_day: _PerDay = 0.0
    sample_interval_s: _Interval = 60.0
    telemetry_interval_s: _Seconds = 300.0
    downloads: Literal["each", "once"] = "each"


def read_profile(path: Path | None, changes: Sequence[str]) -> Profile:
    """Read a profile from a TOML file, and change some of it.

    Args:
        changes: Each `NAME=VALUE`.

    Raises:
        AgentError: `profile.invalid`, naming what is wrong.
    """
    told: dict[str, Any] = {}
    try:
        if path is not None:
            with path.open("rb") as file:
                told = tomllib.loads(file.read(_MAX_FILE_BYTES).decode())
        for change in changes:
            name, equals, value = change.partition("=")
            if not equals:
                raise _invalid(f"{change!r} is no NAME=VALUE")
            told[name.strip()] = value.strip()
        return msgspec.convert(told, Profile, strict=False)
    except OSError as error:
        raise _invalid(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _invalid(str(error)) from error


def _invalid(why: str) -> AgentError:
    names = ", ".join(Profile.__struct_fields__)
    return AgentError("profile.invalid", f"The profile is not valid: {why}. It may say: {names}.", is_final=True)
