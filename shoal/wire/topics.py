"""MQTT topics: where a message travels, and which device it speaks for.

`shoal/1/<device>/up/<channel>` goes to the controller, `shoal/1/<device>/down/<channel>` to the device.
The root carries the wire's major version.
"""

import re
from dataclasses import dataclass
from typing import Final

from shoal.wire.errors import WireError

ROOT: Final = "shoal/1"
CONTROLLER_STATE: Final = f"{ROOT}/controller/state"
UP_CHANNELS: Final = frozenset({"presence", "facts", "reported", "execution", "telemetry", "event"})
DOWN_CHANNELS: Final = frozenset({"desired", "execution", "reply"})
UP_FILTER: Final = f"{ROOT}/+/up/+"

_DEVICE_ID: Final = re.compile(r"d-[a-z2-7]{16}")


@dataclass(frozen=True)
class UpTopic:
    """A parsed `up` topic."""

    device_id: str
    channel: str


def is_device_id(text: str) -> bool:
    """Tell whether `text` is `d-` and 16 base32 characters.

    >>> is_device_id("d-abcdefghijklmno2"), is_device_id("d-abc/#")
    (True, False)
    """
    return _DEVICE_ID.fullmatch(text) is not None


def up(device_id: str, channel: str) -> str:
    """Give the topic on which a device tells the controller something."""
    return f"{ROOT}/{device_id}/up/{channel}"


def down(device_id: str, channel: str) -> str:
    """Give the topic on which the controller tells a device something."""
    return f"{ROOT}/{device_id}/down/{channel}"


def down_filter(device_id: str) -> str:
    """Give the subscription that covers all of a device's `down` topics."""
    return f"{ROOT}/{device_id}/down/+"


def parse_up(topic: str) -> UpTopic:
    """Take an `up` topic apart.

    Raises:
        WireError: `topic.unknown` for anything that is not one.

    >>> parse_up("shoal/1/d-abcdefghijklmno2/up/facts").channel
    'facts'
    """
    prefix, _, rest = topic.partition(f"{ROOT}/")
    parts = rest.split("/")
    if prefix or len(parts) != 3 or parts[1] != "up" or parts[2] not in UP_CHANNELS or not is_device_id(parts[0]):
        raise WireError("topic.unknown", "The topic is not shoal/1/<device>/up/<channel>.")
    return UpTopic(device_id=parts[0], channel=parts[2])
