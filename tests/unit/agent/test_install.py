"""The agent as a service: what is written, what is refused before, and what a second time changes."""

import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import install
from agent.__main__ import main
from agent.errors import AgentError
from agent.install import Order
from agent.settings import Settings
from agent.systemd import Systemd, unit_text
from tests.conftest import require

TOKEN = "hunter-_2." + "a" * 64
OTHER_TOKEN = "other." + "b" * 64
URL = "https://controller:8443"
PYTHON = "/opt/shoal/bin/python"
UNIT = "etc/systemd/system/shoal-agent.service"
WANTED = "etc/systemd/system/multi-user.target.wants/shoal-agent.service"
CREDENTIALS = {"token": "/etc/shoal/token", "product_uuid": "/sys/class/dmi/id/product_uuid"}
# `systemd-analyze security`: 0 is shut, 10 is open. Measured on systemd 252; what is left is the network, which the
# agent is for, memory that runtimes compile into, and, for accelerators, the device files.
EXPOSURE = {"shut": 1.6, "devices": 2.1}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The root of a machine that has Python and the groups of a small board."""
    root = tmp_path / "image"
    (root / "opt/shoal/bin").mkdir(parents=True)
    (root / "opt/shoal/bin/python").symlink_to("/usr/bin/python3")
    (root / "etc").mkdir()
    (root / "etc/group").write_text("root:x:0:\nvideo:x:44:pi\nrender:x:105:\n")
    return root


@pytest.fixture
def systemctl(tmp_path: Path) -> Path:
    """A program in systemctl's place that writes down what it was told."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/told\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def order(image: Path, **changes: Any) -> Order:
    return Order(**{"controller_url": URL, "token": TOKEN, "root": image, "python": PYTHON, **changes})


def told(systemctl: Path) -> list[str]:
    return (systemctl.parent / "told").read_text().splitlines()


def tree(root: Path) -> dict[str, tuple[int, bytes | str]]:
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = (0, str(path.readlink()))
        elif path.is_file():
            found[str(path.relative_to(root))] = (path.stat().st_mode & 0o7777, path.read_bytes())
    return found


def command(monkeypatch: pytest.MonkeyPatch, image: Path, *words: str) -> int:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return main(["install", "--root", str(image), "--python", PYTHON, "--controller-url", URL, *words])


def test_install_when_in_an_image_then_the_agent_of_its_first_boot_reads_what_was_told(image: Path) -> None:
    outcome = install.install(order(image, instance="cam-2", data="/srv/data", runtimes="openvino"), systemd=None)
    assert (outcome.started, outcome.remains) == (False, [])
    found = Settings.from_environment(
        {"SHOAL_AGENT_CONFIG": str(image / "etc/shoal/agent.toml"), "CREDENTIALS_DIRECTORY": str(image / "etc/shoal")}
    )
    assert (found.controller_url, found.token, found.state) == (URL, TOKEN, Path("/var/lib/shoal-agent"))
    assert (found.instance, found.data, found.runtimes) == ("cam-2", "/srv/data", "openvino")
    written = tree(image)
    assert written[WANTED] == (0, "/etc/systemd/system/shoal-agent.service")
    assert [written[path][0] for path in ("etc/shoal/agent.toml", "etc/shoal/token", UNIT)] == [0o644, 0o600, 0o644]
    assert TOKEN.encode() not in (image / "etc/shoal/agent.toml").read_bytes() + (image / UNIT).read_bytes()


def test_install_when_the_callers_umask_is_strict_then_the_service_can_still_read_its_settings(
    image: Path, strict_umask: None
) -> None:
    install.install(order(image), systemd=None)
    folder = image / "etc/shoal"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "agent.toml")] == [0o755, 0o644]


def test_install_when_done_again_then_changes_nothing(image: Path) -> None:
    first = install.install(order(image), systemd=None)
    before = tree(image)
    again = install.install(order(image), systemd=None)
    assert (again.changed, again.unchanged) == ([], first.changed)
    assert tree(image) == before


def test_install_when_done_again_without_a_token_then_keeps_the_one_that_lies_there(image: Path) -> None:
    install.install(order(image), systemd=None)
    again = install.install(order(image, token=""), systemd=None)
    assert (again.changed, again.remains) == ([], [])
    assert (image / "etc/shoal/token").read_text() == TOKEN + "\n"


def test_install_when_options_differ_then_writes_what_differs(image: Path) -> None:
    install.install(order(image, instance="a"), systemd=None)
    assert install.install(order(image, instance="b"), systemd=None).changed == ["/etc/shoal/agent.toml"]
    assert install.install(order(image, instance="b", token=OTHER_TOKEN), systemd=None).changed == ["/etc/shoal/token"]
    install.install(order(image), systemd=None)
    assert "instance" not in tomllib.loads((image / "etc/shoal/agent.toml").read_text())


def test_install_when_a_file_was_closed_then_opens_it(image: Path) -> None:
    install.install(order(image), systemd=None)
    (image / "etc/shoal/agent.toml").chmod(0o600)  # as a power cut between writing and opening leaves it
    assert install.install(order(image), systemd=None).changed == ["/etc/shoal/agent.toml"]
    assert (image / "etc/shoal/agent.toml").stat().st_mode & 0o777 == 0o644


def test_install_when_somebody_added_settings_then_keeps_them_and_hides_a_token(image: Path) -> None:
    (image / "etc/shoal").mkdir()
    config = image / "etc/shoal/agent.toml"
    config.write_text(f'token = "{TOKEN}"\ntelemetry_interval_s = 5\ndata = "/srv/old"\nlog_level = "DEBUG"\n')
    install.install(order(image, token=""), systemd=None)
    assert tomllib.loads(config.read_text()) == {
        "controller_url": URL,
        "log_level": "DEBUG",
        "state": "/var/lib/shoal-agent",
        "telemetry_interval_s": 5.0,
    }
    assert (image / "etc/shoal/token").read_text() == TOKEN + "\n"


def test_install_when_there_is_no_token_then_says_what_remains_until_the_device_is_enrolled(image: Path) -> None:
    assert "/etc/shoal/token" in install.install(order(image, token=""), systemd=None).remains[0]
    state = image / "var/lib/private/shoal-agent"
    state.mkdir(parents=True)
    (state / "enrolled.json").write_text('{"device_id": "d-aaaaaaaaaaaaaaaa"}')
    assert install.install(order(image, token=""), systemd=None).remains == []


@pytest.mark.parametrize("name", ["etc", "etc/shoal", "etc/systemd/system/multi-user.target.wants"])
def test_install_when_a_link_leads_out_of_the_image_then_writes_nothing(image: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(image / name, ignore_errors=True)
    (image / name).parent.mkdir(parents=True, exist_ok=True)
    (image / name).symlink_to(outside)
    before = tree(image)
    with pytest.raises(AgentError, match=r"leads out of") as caught:
        install.install(order(image), systemd=None)
    assert caught.value.code == "install.unreachable"
    assert list(outside.iterdir()) == []
    assert tree(image) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"controller_url": "http://controller:8443"}, "--controller-url is 'http"),
        ({"controller_url": "https://"}, "--controller-url is 'https://'"),
        ({"controller_url": "https://user:word@c"}, "--controller-url is"),
        ({"controller_url": "https://c:8443/path"}, "--controller-url is"),
        ({"controller_url": "https://c:99999"}, "--controller-url is"),
        ({"controller_url": "https://c\nstate = 1"}, "--controller-url contains a character"),
        ({"token": "hunter"}, "no enrolment token"),
        ({"token": "hunter." + "A" * 64}, "no enrolment token"),
        ({"token": TOKEN + "\n[Service]\n"}, "no enrolment token"),
        ({"token": "s" * 200 + TOKEN}, "no enrolment token"),
        ({"instance": "a b"}, "--instance is 'a b'"),
        ({"runtimes": "a\x00b"}, "--runtimes contains a character"),
        ({"data": "/srv/a\nb"}, "--data contains a character"),
        ({"data": "data"}, "cannot reach --data data"),
        ({"data": "/srv/../home/pi/data"}, "cannot reach --data /srv/../home/pi/data"),
        ({"data": "/home/pi/data"}, "cannot reach --data /home/pi/data"),
        ({"python": "/opt/shoal/bin/python\nUser=root"}, "--python is"),
        ({"python": "/opt/%n/python"}, "--python is"),
        ({"python": "python"}, "--python is"),
        ({"python": "/opt/other/python"}, "no /opt/other/python below"),
    ],
)
def test_install_when_told_something_bad_then_names_it_and_writes_nothing(
    image: Path, changes: dict[str, str], words: str
) -> None:
    before = tree(image)
    with pytest.raises(AgentError) as caught:
        install.install(order(image, **changes), systemd=None)
    assert words in str(caught.value)
    assert "hunter" not in str(caught.value)
    assert tree(image) == before


def test_install_when_python_belongs_to_one_user_then_refuses_it(image: Path) -> None:
    (image / "home/pi/bin").mkdir(parents=True)
    (image / "home/pi/bin/python").touch()
    with pytest.raises(AgentError, match=r"/home/pi/bin/python, which belongs to one user") as caught:
        install.install(order(image, python="/home/pi/bin/python"), systemd=None)
    assert caught.value.code == "install.unreachable"


def test_install_when_systemd_runs_then_restarts_only_what_changed(image: Path, systemctl: Path) -> None:
    systemd = Systemd(str(systemctl))
    assert install.install(order(image), systemd=systemd).started
    assert told(systemctl) == ["daemon-reload", "restart shoal-agent.service"]
    install.install(order(image), systemd=systemd)
    assert told(systemctl)[2:] == ["daemon-reload", "start shoal-agent.service"]
    outcome = install.install(order(image, instance="b"), systemd=systemd, starts=False)
    assert told(systemctl)[4:] == ["daemon-reload"]
    assert (outcome.started, outcome.remains) == (False, ["Start it: systemctl restart shoal-agent.service"])


def test_install_when_systemd_fails_then_says_what_it_said(image: Path, systemctl: Path) -> None:
    systemctl.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    with pytest.raises(AgentError, match=r"daemon-reload failed: Failed to connect to bus") as caught:
        install.install(order(image), systemd=Systemd(str(systemctl)))
    assert caught.value.code == "install.systemd_failed"


def test_uninstall_when_done_then_leaves_the_machine_as_it_was_but_for_the_state(image: Path, systemctl: Path) -> None:
    before = tree(image)
    install.install(order(image), systemd=None)
    state = image / "var/lib/private/shoal-agent"
    state.mkdir(parents=True)
    (state / "enrolled.json").write_text('{"device_id": "d-aaaaaaaaaaaaaaaa"}')
    (image / "var/lib/shoal-agent").symlink_to("private/shoal-agent")
    outcome = install.uninstall(image, systemd=Systemd(str(systemctl)), purge=False)
    assert told(systemctl) == ["stop shoal-agent.service", "daemon-reload"]
    assert (outcome.left, outcome.remains) == (["/var/lib/shoal-agent"], [])
    outcome = install.uninstall(image, systemd=None, purge=True)
    assert outcome.removed == ["/var/lib/shoal-agent", "/var/lib/private/shoal-agent"]
    assert outcome.remains == ["Retire d-aaaaaaaaaaaaaaaa at the controller: its key is gone."]
    assert tree(image) == before
    assert install.uninstall(image, systemd=None, purge=True).removed == []


def test_uninstall_when_somebody_added_files_then_says_that_they_are_left(image: Path) -> None:
    install.install(order(image), systemd=None)
    (image / "etc/shoal/notes").touch()
    (image / f"{UNIT}.d").mkdir()
    outcome = install.uninstall(image, systemd=None, purge=False)
    assert outcome.left == ["/etc/shoal", "/etc/systemd/system/shoal-agent.service.d"]


def test_command_when_run_dry_then_writes_nothing_and_hides_the_token(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(image)
    assert command(monkeypatch, image, "--token", TOKEN, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "# /etc/shoal/token (0600)\n(hidden)\n" in shown
    assert f'controller_url = "{URL}"' in shown
    assert f"ExecStart={PYTHON} -m agent run" in shown
    assert TOKEN not in shown
    assert command(monkeypatch, image, "--token", TOKEN, "--dry-run", "--json") == 0
    files = json.loads(capsys.readouterr().out)
    assert [(file["path"], file["mode"]) for file in files][:1] == [("/etc/shoal/token", "0600")]
    assert tree(image) == before


def test_command_when_the_token_comes_from_a_file_or_the_standard_input_then_takes_it(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert command(monkeypatch, image, "--token-file", str(tmp_path / "token")) == 0
    assert (image / "etc/shoal/token").read_text() == TOKEN + "\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(OTHER_TOKEN.encode())))
    assert command(monkeypatch, image, "--token", "-", "--json") == 0
    assert (image / "etc/shoal/token").read_text() == OTHER_TOKEN + "\n"
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("{") :])["changed"] == ["/etc/shoal/token"]
    assert TOKEN not in shown
    assert OTHER_TOKEN not in shown
    assert command(monkeypatch, image) == 0
    assert capsys.readouterr().out == "Nothing had to change.\n"


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_command_when_not_root_then_says_so_in_a_sentence(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    others = {"install": ["--controller-url", URL, "--python", PYTHON], "uninstall": []}
    assert main([verb, "--root", str(image), *others[verb]]) == 1
    assert capsys.readouterr().err == "Only root may do this: run it again with sudo. [install.not_root]\n"


@pytest.fixture
def systemd_analyze() -> str:
    return require(shutil.which("systemd-analyze"), "systemd")


@pytest.fixture(params=["shut", "devices"])
def written_unit(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The unit of each kind, with a Python and groups that this machine has too."""
    devices = {"shut": None, "devices": ["video"]}[request.param]
    path = tmp_path / "shoal-agent.service"
    text = unit_text(
        python=str(Path(sys.executable).resolve()),
        config="/etc/shoal/agent.toml",
        credentials=CREDENTIALS,
        devices=devices,
    )
    path.write_text(text)
    return request.param, path


def test_unit_when_systemd_reads_it_then_finds_nothing_to_say(
    systemd_analyze: str, written_unit: tuple[str, Path]
) -> None:
    done = subprocess.run([systemd_analyze, "verify", written_unit[1]], capture_output=True, text=True)
    about_it = [line for line in done.stderr.splitlines() if "shoal-agent" in line]
    assert (done.returncode, about_it) == (0, [])


def test_unit_when_systemd_rates_it_then_is_shut_as_far_as_stated(
    systemd_analyze: str, written_unit: tuple[str, Path]
) -> None:
    kind, path = written_unit
    threshold = f"--threshold={EXPOSURE[kind] * 10:.0f}"  # this option alone counts from 0 to 100
    words = [systemd_analyze, "security", "--offline=true", "--no-pager", threshold, path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_unit_when_accelerators_are_used_then_names_only_groups_that_the_machine_has(image: Path) -> None:
    install.install(order(image, sees_devices=True), systemd=None)
    text = (image / UNIT).read_text()
    assert "SupplementaryGroups=video render\n" in text
    assert "PrivateDevices=no\n" in text
    (image / "etc/group").unlink()
    install.install(order(image, sees_devices=True), systemd=None)
    assert "SupplementaryGroups" not in (image / UNIT).read_text()
