"""How fast telemetry comes in: messages from Mosquitto to rows, for each second of the gateway's processor.

`python -m benchmarks.ingest [--quick]`: a real Mosquitto with the generated configuration (mTLS, an access list), and a
gateway in a process of its own, against SQLite and against PostgreSQL. Beside it, alternately and with the very same
messages: a bare paho subscriber at QoS 1 that parses the JSON of each (the envelope's, and the body's) and keeps
nothing.

The broker keeps what is published for all three, which then take it one after another, as fast as they can. What is
measured is the processor time of the process that takes, from before it connects until all is there. The rows are
counted, each by its device, session and sequence: nothing may be lost or doubled.
"""

import argparse
import json
import logging
import random
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import func, select

from benchmarks._rig import Case, wait_for
from benchmarks._services import mosquitto, postgresql
from controller import migrate
from controller.app import spare_collector
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.events import WakeUp
from controller.gateway.client import Gateway
from controller.keys import Keys
from controller.settings import Settings
from controller.telemetry.tables import MessageRow
from shoal.wire import envelope, topics
from shoal.wire.telemetry import Telemetry

RATIO_AIM: Final = 0.7
_PEER: Final = "bare paho subscriber that parses JSON"
_SAMPLES: Final = 5  # in a message, a minute apart: what an agent sends by default
_KINDS: Final = (
    "cpu.ratio",
    "cpu.load",
    "memory.available_bytes",
    "disk.free_bytes",
    "temperature.cpu_celsius",
    "power.watts",
    "network.received_bytes",
    "network.sent_bytes",
    "agent.rss_bytes",
    "inference.digits.requests",
)


@dataclass(frozen=True, kw_only=True)
class Taker:
    """Who takes messages: the name that the broker knows it by, and its database; the bare one has none."""

    name: str
    database_url: str = ""


@dataclass
class Tally:
    """What a taker used in all laps."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    messages: int = 0
    rates: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A device that publishes."""

    device_id: str
    public_key: bytes
    certificate: Path
    key: Path


def main() -> int:
    """Measure; gives 0 if each aim is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4,000 messages, once, where not told")
    parser.add_argument("--messages", type=int, help="in a lap (20,000)")
    parser.add_argument("--devices", type=int, default=100, help="that send them")
    parser.add_argument("--laps", type=int, help="how often all is sent and taken (3)")
    options = parser.parse_args()
    messages = options.messages or (4_000 if options.quick else 20_000)
    laps = options.laps or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory(prefix="shoal-ingest-") as name, ExitStack() as opened:
        folder = Path(name)
        keys = Keys.open(folder / "state")
        url = opened.enter_context(postgresql(folder / "postgresql"))
        port = opened.enter_context(mosquitto(folder / "mosquitto", keys, 3))
        takers = {
            "SQLite": Taker(name="controller-1", database_url=f"sqlite:///{folder / 'shoal.db'}"),
            "PostgreSQL": Taker(name="controller-2", database_url=url),
            _PEER: Taker(name="controller-3"),
        }
        machines = [_machine(keys, folder) for _ in range(options.devices)]
        for taker in takers.values():
            if taker.database_url:
                _register(taker.database_url, machines)
            _take(folder, port, taker, 0)  # from here on the broker keeps messages for it
        tallies = {of: Tally() for of in takers}
        for lap in range(laps):
            sent = _publish(keys, port, machines, messages, lap)
            order = [*takers][lap % len(takers) :] + [*takers][: lap % len(takers)]
            for of in order:
                cpu_s, wall_s = _take(folder, port, takers[of], messages)
                _add(tallies[of], messages, cpu_s, wall_s)
                if takers[of].database_url:
                    _check_rows(takers[of].database_url, lap, sent)
    cases = [_case(of, tallies[of], tallies[_PEER]) for of in takers if of != _PEER]
    for case in cases:
        case.tell()
    for of, tally in tallies.items():
        said = f"{of}: {tally.messages / tally.cpu_s:.0f} messages a CPU second, {tally.messages / tally.wall_s:.0f} a "
        sys.stderr.write(f"{said}second; laps {[round(rate) for rate in tally.rates]}\n")
    return 0 if all(case.met for case in cases) else 1


def _add(tally: Tally, messages: int, cpu_s: float, wall_s: float) -> None:
    tally.cpu_s += cpu_s
    tally.wall_s += wall_s
    tally.messages += messages
    tally.rates.append(messages / cpu_s)


def _case(of: str, ours: Tally, peer: Tally) -> Case:
    rate, peer_rate = ours.messages / ours.cpu_s, peer.messages / peer.cpu_s
    return Case(
        benchmark="ingest",
        case=f"Mosquitto to rows in {of}",
        metric="telemetry messages a second of the process's CPU",
        unit="1/s",
        ours=round(rate, 1),
        peer=round(peer_rate, 1),
        peer_name=_PEER,
        ratio=round(rate / peer_rate, 3),
        aim=RATIO_AIM,
        met=rate / peer_rate >= RATIO_AIM,
    )


# Devices.


def _machine(keys: Keys, folder: Path) -> Machine:
    key = Ed25519PrivateKey.generate()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    device_id = "d-" + "".join(random.choices("abcdefghijklmnopqrstuvwxyz234567", k=16))
    pem = csr.public_bytes(Encoding.PEM).decode()
    issued = keys.issue_device_certificate(pem, device_id, timedelta(days=1), datetime.now(UTC))
    certificate, key_path = folder / f"{device_id}.pem", folder / f"{device_id}.key"
    certificate.write_text(issued.pem)
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Machine(device_id=device_id, public_key=issued.public_key, certificate=certificate, key=key_path)


def _register(url: str, machines: list[Machine]) -> None:
    with _opened(url) as database:
        migrate.upgrade(database)
        with database.transaction() as session:
            for machine in machines:
                session.add(
                    DeviceRow(
                        id=machine.device_id,
                        public_key=machine.public_key,
                        state=DeviceState.ACTIVE,
                        labels={},
                        facts={},
                        reported={},
                        certificate_expires_at=utc_now(),
                        enrollment_token_id="",
                        enrolled_at=utc_now(),
                    )
                )


def _publish(keys: Keys, port: int, machines: list[Machine], messages: int, lap: int) -> set[tuple[str, int]]:
    """Send what one lap takes; gives which message of which device there are."""
    sent: set[tuple[str, int]] = set()
    for index, machine in enumerate(machines):
        count = messages // len(machines) + (index < messages % len(machines))
        client = _client(machine.device_id, MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(keys.ca_path))
        context.load_cert_chain(machine.certificate, machine.key)
        client.tls_set_context(context)
        client.max_inflight_messages_set(200)
        client.connect("127.0.0.1", port)
        client.loop_start()
        topic = topics.up(machine.device_id, "telemetry")
        told = [client.publish(topic, _payload(topic, lap, number), qos=1) for number in range(count)]
        for info in told:
            info.wait_for_publish(120)
        client.disconnect()
        client.loop_stop()
        sent |= {(machine.device_id, number) for number in range(count)}
    return sent


def _payload(topic: str, lap: int, number: int) -> bytes:
    sample = Telemetry(
        id=f"{lap}-{number}",
        session=lap,
        sequence=number,
        begin=round(time.time() - 600, 3),
        offsets=[60.0 * index for index in range(_SAMPLES)],
        series={kind: [_figure(kind) for _ in range(_SAMPLES)] for kind in _KINDS},
    )
    return envelope.seal(sample, topic=topic)


def _figure(kind: str) -> float:
    if kind.endswith("ratio"):
        return round(random.random(), 4)
    if kind.endswith("bytes"):
        return float(random.randrange(2**30, 2**33))
    return round(random.uniform(0, 90), 2)


# Takers.


def _take(folder: Path, port: int, taker: Taker, messages: int) -> tuple[float, float]:
    """Let a taker take all that the broker has for it; gives its processor seconds, and the time that went by."""
    arguments = [str(folder / "state"), str(port), taker.name, str(messages), taker.database_url]
    before = 0
    if taker.database_url:
        with _opened(taker.database_url) as database:
            before = _rows(database)
    process = subprocess.Popen(
        [sys.executable, "-c", "from benchmarks.ingest import take; take()", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{taker.name} could not begin")
    began = time.monotonic()
    process.stdin.write("go\n")
    process.stdin.flush()
    if taker.database_url:
        with _opened(taker.database_url) as database:
            wait_for(lambda: _rows(database) - before >= messages, "all rows", interval_s=0.2, timeout_s=300)
            wall_s = time.monotonic() - began
    else:
        process.stdout.readline()
        wall_s = time.monotonic() - began
    time.sleep(1)  # the last acknowledgements, and what may come twice
    process.stdin.close()
    cpu_s: float = json.loads(process.stdout.readline())
    process.wait()
    return cpu_s, wall_s


def _rows(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(MessageRow)) or 0


def _check_rows(url: str, lap: int, sent: set[tuple[str, int]]) -> None:
    """Raise unless each message of a lap is one row."""
    with _opened(url) as database, database.reading() as session:
        query = (
            select(DeviceRow.id, MessageRow.sequence)
            .join(DeviceRow, DeviceRow.number == MessageRow.device)
            .where(MessageRow.session == lap)
        )
        found = [(device_id, sequence) for device_id, sequence in session.execute(query)]
    if len(found) != len(sent) or set(found) != sent:
        raise RuntimeError(f"{len(sent)} messages became {len(found)} rows, {len(set(found) & sent)} of them right")


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


# The process of a taker.


def take() -> None:
    """Take messages until standard input ends; prints the processor seconds that this took."""
    state, port, name, messages, database_url = sys.argv[1:]
    logging.basicConfig(level="WARNING")
    settings = Settings(
        state=Path(state),
        broker_url=f"mqtts://127.0.0.1:{port}",
        controller_name=name,
        database_url=database_url,
        telemetry_bytes_per_day=2**40,
    )
    keys = Keys.open(settings.state)
    begin = _gateway(settings, keys) if database_url else _bare(settings, keys, int(messages))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began = time.process_time()
    end = begin()
    sys.stdin.read()
    took_s = time.process_time() - began
    end()
    sys.stdout.write(json.dumps(took_s) + "\n")


def _gateway(settings: Settings, keys: Keys) -> Any:
    database = Database(settings.database_url)
    _rows(database)  # what a process does at its first query is no part of what a message costs
    spare_collector()
    gateway = Gateway(settings, database, keys, BlobStore(settings.blobs_at()), WakeUp(database))
    stop = threading.Event()
    thread = threading.Thread(target=gateway.run, args=(stop,))

    def end() -> None:
        stop.set()
        thread.join()

    def begin() -> Any:
        thread.start()
        return end

    return begin


def _bare(settings: Settings, keys: Keys, messages: int) -> Any:
    client = _client(settings.controller_name, MQTTProtocolVersion.MQTTv5)
    certificate, key = keys.issue_controller_certificate(settings.controller_name)
    context = ssl.create_default_context(cafile=str(keys.ca_path))
    context.load_cert_chain(certificate, key)
    client.tls_set_context(context)
    client.on_connect = lambda *_: client.subscribe(topics.UP_FILTER, qos=1)
    taken = 0

    def arrived(_client: Client, _userdata: Any, message: Any) -> None:
        nonlocal taken
        json.loads(json.loads(message.payload)["body"])
        taken += 1
        if taken == messages:
            sys.stdout.write("all\n")
            sys.stdout.flush()

    client.on_message = arrived

    def end() -> None:
        client.disconnect()
        client.loop_stop()

    def begin() -> Any:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 86_400
        properties.ReceiveMaximum = 1000
        port = urlsplit(settings.broker_url).port or 0
        client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        client.loop_start()
        if not messages:
            sys.stdout.write("all\n")
            sys.stdout.flush()
        return end

    return begin


def _client(name: str, protocol: MQTTProtocolVersion) -> Client:
    return Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)


if __name__ == "__main__":
    sys.exit(main())
