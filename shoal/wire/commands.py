"""Messages about commands: an operator's one-off request to devices, run as an execution. There is no remote shell."""

from enum import StrEnum

import msgspec

from shoal.wire.devices import Count, ShortText


class CommandName(StrEnum):
    """What can be asked for.

    `ping`: answer. `restart_agent`: begin anew as a process; done when the new one says so.
    """

    PING = "ping"
    RESTART_AGENT = "restart_agent"


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A command; `name` is text, so that a device can reject one that it does not know."""

    name: ShortText


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered.

    Attributes:
        instance: Of the agent process; another one than before after `restart_agent`.
        uptime_s: How long that process has run.
    """

    instance: ShortText
    boot_id: ShortText
    agent_version: ShortText
    uptime_s: float
    sessions: Count
