"""What scripts need beside the controller: Mosquitto with the generated configuration, and PostgreSQL."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._rig import wait_for
from controller.broker import CONFIG, BrokerPlan, write_config
from controller.keys import Keys
from scenarios.stage import free_ports


def program(name: str, package: str, *folders: str) -> str:
    """Give a program's path, or end with how to install it."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders]))
    if found is None:
        sys.exit(f"needs {package}: sudo apt-get install {package}")
    return found


@contextmanager
def mosquitto(folder: Path, keys: Keys, controllers: int) -> Iterator[int]:
    """Run it as `shoal broker config` sets it up, for some controllers; gives its port."""
    port = free_ports(["broker"], {})["broker"]
    plan = BrokerPlan(
        hosts=["127.0.0.1"],
        listen="127.0.0.1",
        port=port,
        controllers=controllers,
        user=getpass.getuser(),
        place=folder,
    )
    write_config(folder, plan, keys, is_forced=False)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program("mosquitto", "mosquitto"), "-c", folder / CONFIG], stderr=log)
    try:
        wait_for(lambda: _is_listening(port), "Mosquitto")
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a server of its own, as safe against a power cut as by default; gives its URL."""
    folders = sorted(str(path.parent) for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = program("initdb", "postgresql", *folders[-1:])
    pg_ctl = program("pg_ctl", "postgresql", *folders[-1:])
    folder.mkdir(parents=True)
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
        for parent in folder.parents:
            if parent != Path(parent.anchor) and parent.stat().st_mode & 0o011 != 0o011:
                parent.chmod(parent.stat().st_mode | 0o011)
    port = free_ports(["postgresql"], {})["postgresql"]
    data = str(folder / "data")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    _quietly([*as_user, initdb, "-D", data, "-A", "trust", "-U", "shoal"], folder)
    _quietly([*as_user, pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start"], folder)
    try:
        yield f"postgresql://shoal@127.0.0.1:{port}/postgres"
    finally:
        _quietly([*as_user, pg_ctl, "-D", data, "-m", "immediate", "stop"], folder)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _quietly(command: list[str], folder: Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
