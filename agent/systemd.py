"""The agent as a service of systemd: its unit, shut in as far as the work allows, and whom to tell that it changed.

Left open on purpose: writable and executable memory (runtimes compile kernels), and `/proc` beyond processes (facts).
"""

import subprocess
from pathlib import Path
from typing import Final

from agent.errors import AgentError

NAME: Final = "shoal-agent.service"
STATE_FOLDER: Final = "/var/lib/shoal-agent"  # a link into /var/lib/private, where systemd keeps it for a dynamic user
_TIMEOUT_S: Final = 120.0

_UNIT: Final = """\
# Written by `shoal-agent install`; put changes into {name}.d/*.conf, which it leaves alone.
[Unit]
Description=Shoal's agent on this device
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={python} -m agent run
Restart=always
RestartSec=10
KillMode=mixed
TimeoutStopSec=20
OOMPolicy=continue
CPUWeight=50
DynamicUser=yes
{groups}StateDirectory=shoal-agent
StateDirectoryMode=0700
UMask=0077
Environment=HOME={state} SHOAL_AGENT_CONFIG={config}
# What only root can read is handed over; an empty one stands in for what is not there.
{credentials}
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices={private_devices}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock={protect_clock}
ProtectHostname=yes
ProtectProc=invisible
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
LimitCORE=0

[Install]
WantedBy=multi-user.target
"""


def unit_text(*, python: str, config: str, credentials: dict[str, str], devices: list[str] | None = None) -> str:
    """Write the unit.

    Args:
        python: Absolute path of the Python that has Shoal.
        credentials: Files that root reads for the service, by the names under which it finds them.
        devices: Groups that own accelerators' device files; None: the service sees no devices at all.
    """
    lines = [f"LoadCredential={name}:{path}\nSetCredential={name}:\\n" for name, path in credentials.items()]
    return _UNIT.format(
        name=NAME,
        python=python,
        config=config,
        state=STATE_FOLDER,
        groups=f"SupplementaryGroups={' '.join(devices)}\n" if devices else "",
        credentials="\n".join(lines),
        private_devices="yes" if devices is None else "no",
        # It would also close every device file that no DeviceAllow= names.
        protect_clock="yes" if devices is None else "no",
    )


class Systemd:
    """The systemd that runs this machine."""

    def __init__(self, program: str = "systemctl") -> None:
        self._program = program

    def tell(self, *words: str) -> None:
        """Run systemctl.

        Raises:
            AgentError: `install.systemd_failed`, with what systemctl said.
        """
        try:
            done = subprocess.run([self._program, *words], capture_output=True, text=True, timeout=_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AgentError("install.systemd_failed", f"systemctl {' '.join(words)}: {error}") from error
        if done.returncode:
            message = f"systemctl {' '.join(words)} failed: {done.stderr.strip()[-500:]} (journalctl -u {NAME})"
            raise AgentError("install.systemd_failed", message)


def running(root: Path) -> Systemd | None:
    """Give the systemd that can start the service now; None in an image, and where another program is process 1."""
    return Systemd() if root == Path("/") and Path("/run/systemd/system").is_dir() else None
