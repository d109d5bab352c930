"""Messages about commands: an operator's one-off request to devices, run as an execution. There is no remote shell."""

from enum import StrEnum
from typing import Annotated

import msgspec

from shoal.wire.devices import ArtifactRef, Count, Measured, ShortText


class CommandName(StrEnum):
    """What can be asked for.

    `ping`: answer. `restart_agent`: begin anew as a process; done when the new one says so. `collect_logs`: upload the
    end of the agent's log. `benchmark`: measure the hardware again. `forget_data`: delete the data that the device
    learns from, and what it learned and did not send.
    """

    PING = "ping"
    RESTART_AGENT = "restart_agent"
    COLLECT_LOGS = "collect_logs"
    BENCHMARK = "benchmark"
    FORGET_DATA = "forget_data"


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command; `name` is text, so that a device can reject one that it does not know.

    Attributes:
        log_bytes: Of `collect_logs`: at most so much of the log's end.
    """

    name: ShortText
    log_bytes: Annotated[int, msgspec.Meta(ge=1024, le=16 * 2**20)] = 2**20


class CommandResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who answered, and what the command gave.

    Attributes:
        instance: Of the agent process; another one than before after `restart_agent`.
        uptime_s: How long that process has run.
        log: Of `collect_logs`: the uploaded text, UTF-8.
        measured: Of `benchmark`.
        forgotten: Of `forget_data`: what was deleted, to how many bytes: `datasets`; `learning` (programs, weights and
            samples fetched for it, updates that were not sent); `telemetry`.
    """

    instance: ShortText
    boot_id: ShortText
    agent_version: ShortText
    uptime_s: float
    sessions: Count
    log: ArtifactRef | None = None
    measured: Measured | None = None
    forgotten: dict[ShortText, Count] | None = None
