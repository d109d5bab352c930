"""The embedded broker: iotcore (rumqttd) on loopback with one password. For one machine, never for production.

It keeps nothing over a restart and knows no access list; signatures and resynchronisation cover that.
"""

from pathlib import Path
from typing import Final

from iotcore import Broker

USER: Final = "shoal"
MAX_MESSAGE_BYTES: Final = 1024 * 1024

# Segments below 10 x 10 MiB lose acknowledged messages silently (35 % were lost at 4 x 1 MiB).
_CONFIG: Final = """\
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 10000
max_segment_size = 10485760
max_segment_count = 10

[v5.1]
name = "shoal"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {max_bytes}
max_inflight_count = 100
dynamic_filters = true

[v5.1.connections.auth]
{user} = "{password}"
"""


def write_config(folder: Path, *, port: int, password: str) -> Path:
    """Write the broker's configuration (0600) and give its place.

    Args:
        folder: Where it shall stand.
        password: Letters, digits, `-` and `_`: it goes into the configuration and into a URL as it is.
    """
    path = folder / "broker.toml"
    path.touch(mode=0o600)
    path.write_text(_CONFIG.format(port=port, user=USER, password=password, max_bytes=MAX_MESSAGE_BYTES))
    return path


def embedded_broker(folder: Path, *, port: int, password: str) -> Broker:
    """Give the broker with a configuration in `folder`, not started yet; see `write_config`."""
    return Broker(config_path=str(write_config(folder, port=port, password=password)))
