"""The Mosquitto that `shoal broker config` configures and `shoal broker sync` keeps: who gets in, who is heard."""

import getpass
import json
import os
import queue
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client as Mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from controller.broker import CONFIG, write_config
from controller.errors import ShoalError
from controller.keys import DeviceCertificate, Keys
from shoal.cli.errors import CliError
from shoal.cli.mosquitto import Change, MosquittoFolder
from shoal.client import Client
from shoal.schemas.broker import BrokerAccess
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import topics
from tests.rig import broker_plan, free_port, is_listening, wait_for

GOOD, OTHER = "d-aaaaaaaaaaaaaaaa", "d-bbbbbbbbbbbbbbbb"
CONTROLLER = "controller-1"
DAY = timedelta(days=1)


class Mosquitto:
    """The broker with a written configuration."""

    def __init__(self, program: str, folder: Path, keys: Keys) -> None:
        self.folder, self.keys, self.port = folder, keys, free_port()
        self._program = program
        write_config(folder, broker_plan(folder, self.port), keys, is_forced=False)
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([self._program, "-c", self.folder / CONFIG], stderr=log)
        wait_for(lambda: is_listening(self.port))

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait()


class Person:
    """A client with a certificate."""

    def __init__(self, broker: Mosquitto, tls: ssl.SSLContext, *, claims: str, is_kept: bool = False) -> None:
        self.outcomes: queue.Queue[str] = queue.Queue()
        self.inbox: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._broker = broker
        self._client = Mqtt(CallbackAPIVersion.VERSION2, client_id=claims, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda *given: self.outcomes.put("refused" if given[3].is_failure else "in")
        self._client.on_disconnect = lambda *_: self.outcomes.put("out")
        self._client.on_connect_fail = lambda *_: self.outcomes.put("out")
        self._client.on_message = lambda _c, _u, message: self.inbox.put((message.topic, message.payload))
        self._client.tls_set_context(tls)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600 if is_kept else 0
        self._client.connect_async("127.0.0.1", broker.port, clean_start=not is_kept, properties=properties)
        self._client.loop_start()
        self.outcome = self.outcomes.get(timeout=20)

    def subscribe(self, topic: str) -> None:
        heard: queue.Queue[None] = queue.Queue()
        self._client.on_subscribe = lambda *_: heard.put(None)
        self._client.subscribe(topic, qos=1)
        heard.get(timeout=20)

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(20)

    def hears(self) -> tuple[str, bytes]:
        return self.inbox.get(timeout=20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def issue(keys: Keys, device_id: str, key: Ed25519PrivateKey) -> DeviceCertificate:
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    return keys.issue_device_certificate(
        csr.public_bytes(Encoding.PEM).decode(), device_id, 30 * DAY, datetime.now(UTC)
    )


def client_tls(keys: Keys, folder: Path, certificate: str, key: Ed25519PrivateKey) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=keys.ca_pem)
    (folder / "client.pem").write_text(certificate)
    (folder / "client.key").write_bytes(private_pem(key))
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def mosquitto_at(mosquitto_program: str, tmp_path: Path, opened: ExitStack) -> Callable[[Keys], Mosquitto]:
    def start(keys: Keys) -> Mosquitto:
        broker = Mosquitto(mosquitto_program, tmp_path / "mosquitto", keys)
        opened.callback(lambda: broker.end(signal.SIGKILL))
        return broker

    return start


@pytest.fixture
def broker(mosquitto_at: Callable[[Keys], Mosquitto], tmp_path: Path) -> Mosquitto:
    return mosquitto_at(Keys.open(tmp_path / "state"))


class Hall:
    """Lets people in."""

    def __init__(self, broker: Mosquitto, folder: Path, opened: ExitStack) -> None:
        self._broker, self._folder, self._opened = broker, folder, opened

    def device(self, device_id: str, *, claims: str = "") -> tuple[Person, DeviceCertificate]:
        key = Ed25519PrivateKey.generate()
        certificate = issue(self._broker.keys, device_id, key)
        tls = client_tls(self._broker.keys, self._folder, certificate.pem, key)
        return self.person(tls, claims=claims or device_id), certificate

    def controller(self) -> Person:
        tls = ssl.create_default_context(cadata=self._broker.keys.ca_pem)
        tls.load_cert_chain(*self._broker.keys.issue_controller_certificate(CONTROLLER))
        return self.person(tls, claims=CONTROLLER, is_kept=True)

    def person(self, tls: ssl.SSLContext, *, claims: str, is_kept: bool = False) -> Person:
        person = Person(self._broker, tls, claims=claims, is_kept=is_kept)
        self._opened.callback(person.close)
        return person


@pytest.fixture
def hall(broker: Mosquitto, tmp_path: Path, opened: ExitStack) -> Hall:
    return Hall(broker, tmp_path, opened)


def access_of(
    keys: Keys, revision: int, *, revoked: tuple[str, ...] = (), denied: tuple[str, ...] = ()
) -> BrokerAccess:
    now = datetime.now(UTC)
    crl = keys.sign_revocation_list([(serial, now) for serial in revoked], revision, now)
    return BrokerAccess(revision=revision, crl=crl, denied=list(denied), made_at=now)


def follow(broker: Mosquitto, access: BrokerAccess) -> Change:
    folder = MosquittoFolder(broker.folder)
    change = folder.follow(access, datetime.now(UTC), accepts_older=False)
    folder.tell(folder.process_id(None))
    return change


def test_device_when_let_in_then_speaks_and_hears_for_itself_only(hall: Hall) -> None:
    controller, (device, _), (other, _) = hall.controller(), hall.device(GOOD), hall.device(OTHER)
    controller.subscribe(topics.UP_FILTER)
    device.subscribe("#")
    device.say(topics.up(OTHER, "facts"), b"forged")
    device.say(topics.CONTROLLER_STATE, b"forged")
    device.say(topics.down(OTHER, "desired"), b"forged")
    device.say(topics.up(GOOD, "facts"), b"own")
    assert controller.hears() == (topics.up(GOOD, "facts"), b"own")
    controller.say(topics.down(OTHER, "desired"), b"for the other")
    controller.say(topics.down(GOOD, "desired"), b"for it")
    assert device.hears() == (topics.down(GOOD, "desired"), b"for it")
    assert other.inbox.empty()


def test_certificate_when_missing_then_nobody_gets_in(broker: Mosquitto, hall: Hall) -> None:
    tls = ssl.create_default_context(cadata=broker.keys.ca_pem)
    assert hall.person(tls, claims=GOOD).outcome == "out"


def test_rogue_certificate_when_of_another_ca_then_nobody_gets_in(
    broker: Mosquitto, hall: Hall, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    rogue = issue(Keys.open(tmp_path / "rogue"), GOOD, key)
    assert hall.person(client_tls(broker.keys, tmp_path, rogue.pem, key), claims=GOOD).outcome == "out"


def test_expired_certificate_when_of_our_own_ca_then_nobody_gets_in(
    broker: Mosquitto, hall: Hall, tmp_path: Path
) -> None:
    """The attack: a device of the past, or its thief, that was never revoked."""
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    pem = csr.public_bytes(Encoding.PEM).decode()
    old = broker.keys.issue_device_certificate(pem, GOOD, timedelta(minutes=-1), now)
    assert hall.person(client_tls(broker.keys, tmp_path, old.pem, key), claims=GOOD).outcome == "out"


def test_client_id_when_hijacked_with_another_devices_certificate_then_takes_nothing_over(hall: Hall) -> None:
    controller, (victim, _) = hall.controller(), hall.device(OTHER)
    controller.subscribe(topics.UP_FILTER)
    rogue, _ = hall.device(GOOD, claims=OTHER)
    rogue.say(topics.up(OTHER, "facts"), b"forged")
    victim.say(topics.up(OTHER, "facts"), b"own")
    assert controller.hears() == (topics.up(OTHER, "facts"), b"own")
    assert victim.outcomes.empty()


def test_rogue_certificate_when_of_a_server_then_no_client_gets_in(broker: Mosquitto, hall: Hall) -> None:
    tls = ssl.create_default_context(cadata=broker.keys.ca_pem)
    tls.load_cert_chain(*broker.keys.issue_server_certificate([CONTROLLER]))
    assert hall.person(tls, claims=CONTROLLER).outcome == "out"


def ca(
    name: str, parent: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = parent or (subject, key)
    now = datetime.now(UTC)
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 99 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **usages),
            True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), key


def test_operators_intermediate_when_it_issues_then_lets_in_its_own_and_not_its_siblings(
    mosquitto_at: Callable[[Keys], Mosquitto], tmp_path: Path, opened: ExitStack
) -> None:
    root_pem, root_key = ca("Root", None)
    root_name = x509.load_pem_x509_certificate(root_pem).subject
    states: list[Keys] = []
    for name in ("ours", "sibling"):
        pem, key = ca(name, (root_name, root_key))
        state = tmp_path / name
        state.mkdir()
        (state / "ca.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (state / "ca.pem").write_bytes(pem + root_pem)
        states.append(Keys.open(state))
    ours, sibling = states
    hall = Hall(mosquitto_at(ours), tmp_path, opened)
    device, _ = hall.device(GOOD)
    assert device.outcome == "in"
    tls = ssl.create_default_context(cadata=ours.ca_pem)
    tls.load_cert_chain(*sibling.issue_controller_certificate(CONTROLLER))
    assert hall.person(tls, claims=CONTROLLER).outcome == "out"


def test_revoked_device_when_no_gateway_runs_then_its_open_session_is_mute_and_no_other_begins(
    broker: Mosquitto, hall: Hall, tmp_path: Path
) -> None:
    controller, (device, certificate), (other, _) = hall.controller(), hall.device(GOOD), hall.device(OTHER)
    controller.subscribe(topics.UP_FILTER)
    device.subscribe(topics.down_filter(GOOD))
    follow(broker, access_of(broker.keys, 1))
    change = follow(broker, access_of(broker.keys, 2, revoked=(certificate.serial,), denied=(GOOD,)))
    assert (change.newly_denied, change.revoked, change.needs_restart) == ([GOOD], 1, False)
    device.say(topics.up(GOOD, "facts"), b"denied")
    other.say(topics.up(OTHER, "facts"), b"good")
    assert controller.hears() == (topics.up(OTHER, "facts"), b"good")
    controller.say(topics.down(GOOD, "desired"), b"secret")
    device.close()
    assert device.inbox.empty()
    again = Person(broker, device._client._ssl_context, claims=GOOD)  # type: ignore[arg-type]
    again.close()
    assert again.outcome == "out"


def test_revoked_certificate_when_one_of_two_then_the_other_still_lets_in(broker: Mosquitto, hall: Hall) -> None:
    old, certificate = hall.device(GOOD)
    old.close()
    follow(broker, access_of(broker.keys, 1, revoked=(certificate.serial,)))
    again = Person(broker, old._client._ssl_context, claims=GOOD)  # type: ignore[arg-type]
    again.close()
    assert (again.outcome, hall.device(GOOD)[0].outcome) == ("out", "in")


def test_session_when_taken_over_then_is_ended_also_where_its_device_is_denied(broker: Mosquitto, hall: Hall) -> None:
    device, certificate = hall.device(GOOD)
    follow(broker, access_of(broker.keys, 1, revoked=(certificate.serial,), denied=(GOOD,)))
    tls = ssl.create_default_context(cadata=broker.keys.ca_pem)
    with broker.keys.takeover_certificate(GOOD, datetime.now(UTC)) as pair:
        tls.load_cert_chain(*pair)
    assert hall.person(tls, claims=GOOD).outcome == "in"
    assert device.outcomes.get(timeout=20) == "out"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda keys, rogue: access_of(rogue, 9), "broker.list_forged"),
        (lambda keys, rogue: access_of(keys, 2), "broker.list_older"),
        (lambda keys, rogue: access_of(keys, 3), "broker.list_older"),
        (lambda keys, rogue: access_of(keys, 9).model_copy(update={"revision": 10}), "broker.list_malformed"),
        (lambda keys, rogue: access_of(keys, 9).model_copy(update={"crl": "x"}), "broker.list_malformed"),
        (lambda keys, rogue: access_of(keys, 9, denied=("x\ntopic readwrite #",)), "broker.bad_device_id"),
        (lambda keys, rogue: access_of(keys, 9, denied=(CONTROLLER,)), "broker.bad_device_id"),
    ],
)
def test_access_when_not_to_be_believed_then_is_refused_and_changes_no_file(
    broker: Mosquitto, tmp_path: Path, make: Callable[[Keys, Keys], BrokerAccess], code: str
) -> None:
    follow(broker, access_of(broker.keys, 3, denied=(OTHER,)))
    before = {path: path.read_bytes() for path in broker.folder.iterdir() if path.name in ("acl", "crl.pem")}
    with pytest.raises(CliError) as caught:
        follow(broker, make(broker.keys, Keys.open(tmp_path / "rogue")))
    assert caught.value.code == code
    assert {path: path.read_bytes() for path in before} == before


def test_broker_when_files_stand_as_it_was_told_then_is_not_told_again(broker: Mosquitto, tmp_path: Path) -> None:
    access = access_of(broker.keys, 1, denied=(OTHER,))
    folder = MosquittoFolder(broker.folder)
    folder.follow(access, datetime.now(UTC), accepts_older=False)
    assert folder.must_be_told()  # also if the process was killed here
    folder.tell(broker.process.pid)
    folder.follow(access, datetime.now(UTC), accepts_older=False)
    assert not folder.must_be_told()
    write_config(broker.folder, broker_plan(broker.folder, broker.port), broker.keys, is_forced=False)
    assert folder.must_be_told()  # a new certificate
    assert folder.follow(access, datetime.now(UTC), accepts_older=False).newly_denied == []
    assert folder.warnings(datetime.now(UTC)) == []
    assert len(folder.warnings(datetime.now(UTC) + 380 * DAY)) == 2


def test_process_when_it_is_no_mosquitto_then_gets_no_signal(broker: Mosquitto) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    with pytest.raises(CliError) as caught:
        MosquittoFolder(broker.folder).tell(bystander.pid)
    assert (caught.value.code, bystander.poll()) == ("broker.not_running", None)
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize("file", ["mosquitto.conf", "acl", "server.pem"])
def test_config_when_files_are_foreign_then_overwrites_them_only_by_force(tmp_path: Path, file: str) -> None:
    keys, folder = Keys.open(tmp_path / "state"), tmp_path / "mosquitto"
    folder.mkdir()
    (folder / file).write_text("mine\n")
    plan = broker_plan(folder, 8883)
    with pytest.raises(ShoalError) as caught:
        write_config(folder, plan, keys, is_forced=False)
    assert caught.value.code == "broker.foreign_files"
    write_config(folder, plan, keys, is_forced=True)
    assert (folder / file).read_text() != "mine\n"
    assert {stat.S_IMODE(path.stat().st_mode) & 0o007 for path in folder.iterdir()} == {0}


@pytest.mark.parametrize("host", ["a b", "-x", "a..b", "x\nlistener 1883", ""])
def test_config_when_a_host_is_none_then_is_refused(tmp_path: Path, host: str) -> None:
    plan = broker_plan(tmp_path, 8883)
    with pytest.raises(ShoalError) as caught:
        write_config(
            tmp_path / "m", type(plan)(**{**vars(plan), "hosts": [host]}), Keys.open(tmp_path), is_forced=False
        )
    assert caught.value.code == "broker.bad_host"


def test_config_command_when_run_twice_then_renews_the_certificate_and_a_changed_file_stops_it(tmp_path: Path) -> None:
    folder = tmp_path / "mosquitto"
    command = [
        sys.executable,
        "-m",
        "shoal.cli",
        "broker",
        "config",
        "--output",
        str(folder),
        "--host",
        "broker.example",
    ]
    command += ["--user", getpass.getuser(), "--controllers", "2", "--json"]
    environment = {**os.environ, "SHOAL_STATE": str(tmp_path / "state")}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    told = json.loads(run().stdout)
    assert told["broker_url"] == "mqtts://broker.example:8883"
    assert {Path(path).name for path in told["written"]} < {path.name for path in folder.iterdir()}
    assert "listener 8883 127.0.0.1\n" in (folder / CONFIG).read_text()
    assert "user controller-2\n" in (folder / "acl").read_text()
    before = (folder / "server.pem").read_text()
    assert (run().returncode, (folder / "server.pem").read_text() == before) == (0, False)
    (folder / "acl").write_text((folder / "acl").read_text() + "topic readwrite #\n")
    refused = run()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--force" in refused.stderr


def saved_at(broker: Mosquitto) -> int:
    path = broker.folder / "data" / "mosquitto.db"
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed after a saving", "stopped in order"])
def test_queued_messages_when_the_broker_ends_then_are_there_afterwards(
    broker: Mosquitto, hall: Hall, opened: ExitStack, number: signal.Signals
) -> None:
    """What is queued for a controller that is away; a kill between two savings loses it."""
    controller = hall.controller()
    controller.subscribe(topics.UP_FILTER)
    controller.close()
    device, _ = hall.device(GOOD)
    device.say(topics.up(GOOD, "facts"), b"kept")
    said = saved_at(broker)
    wait_for(lambda: number == signal.SIGTERM or saved_at(broker) > said)
    device.close()
    broker.end(number)
    broker.start()
    assert hall.controller().hears() == (topics.up(GOOD, "facts"), b"kept")


def test_sync_when_a_device_is_retired_then_shuts_it_out_of_a_running_broker(
    broker: Mosquitto, tmp_path: Path, opened: ExitStack
) -> None:
    """The whole way: the real controller, its API, the command, Mosquitto."""
    state, ports = tmp_path / "state", (free_port(), free_port())
    environment: dict[str, Any] = {
        **os.environ,
        "SHOAL_STATE": str(state),
        "SHOAL_BROKER_URL": f"mqtts://127.0.0.1:{broker.port}",
        "SHOAL_API_PORT": str(ports[0]),
        "SHOAL_DEVICE_PORT": str(ports[1]),
        "SHOAL_URL": f"http://127.0.0.1:{ports[0]}",
        "PYTHONUNBUFFERED": "1",
    }
    controller = subprocess.Popen(
        [sys.executable, "-m", "controller", "all"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=opened.enter_context((tmp_path / "controller.log").open("w")),
        text=True,
    )
    opened.callback(controller.communicate)
    opened.callback(controller.terminate)
    assert controller.stdout is not None
    password = controller.stdout.readline().split()[1]
    wait_for(lambda: is_listening(ports[0]))
    with Client(environment["SHOAL_URL"]) as stranger:
        environment["SHOAL_TOKEN"] = stranger.tokens.create("admin", password).token
    client = opened.enter_context(Client(environment["SHOAL_URL"], environment["SHOAL_TOKEN"]))
    agent_state = tmp_path / "agent"
    token = client.enrollment_tokens.create(EnrollmentTokenRequest()).token
    agent = subprocess.Popen(
        [sys.executable, "-m", "agent", "run"],
        env={
            **os.environ,
            "SHOAL_AGENT_STATE": str(agent_state),
            "SHOAL_AGENT_CONTROLLER_URL": f"https://127.0.0.1:{ports[1]}",
            "SHOAL_AGENT_TOKEN": token,
        },
        stderr=opened.enter_context((tmp_path / "agent.log").open("w")),
    )
    opened.callback(agent.wait)
    opened.callback(agent.terminate)
    device = wait_for(lambda: next((one for one in client.devices.list().items if one.online), None), 60)
    assert device is not None
    command = [sys.executable, "-m", "shoal.cli", "broker", "sync", "--folder", str(broker.folder)]
    watching = subprocess.Popen(
        [*command, "--watch", "--interval-s", "0.2"], env=environment, stdout=subprocess.PIPE, text=True
    )
    opened.callback(watching.communicate)
    opened.callback(watching.terminate)
    assert watching.stdout is not None
    assert "Mosquitto was told" in watching.stdout.readline()
    client.devices.retire(device.id, "sold")
    lines = iter(watching.stdout.readline, "")
    assert any(f"shuts out {device.id}" in line for line in lines)
    tls = ssl.create_default_context(cadata=broker.keys.ca_pem)
    tls.load_cert_chain(agent_state / "device.pem", agent_state / "device.key")
    late = Person(broker, tls, claims=device.id)
    late.close()
    assert late.outcome == "out"
    once = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True)
    assert '"reloaded": false' in once.stdout
