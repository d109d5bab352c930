"""The `shoal` command as a process, on a real controller and a real agent over the embedded broker."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.wire.tensors import encode_tensors
from tests.compressing import split, trained
from tests.e2e.voyage import Agent, Controller, online
from tests.models import WEIGHTS, golden_of, samples
from tests.rig import BrokerAt, free_port, wait_for

Said = tuple[int, str, str]


class Shoal:
    """The command, with a folder of its own for logins."""

    def __init__(self, url: str, config: Path) -> None:
        self.environment = {**os.environ, "SHOAL_URL": url, "SHOAL_CONFIG": str(config), "COLUMNS": "100"}
        self.environment.pop("SHOAL_TOKEN", None)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "shoal.cli", *arguments]

    def __call__(self, *arguments: str, given: str = "", **environment: str) -> Said:
        done = subprocess.run(
            self.command(*arguments),
            env={**self.environment, **environment},
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def controller(iotcore: BrokerAt) -> Iterator[Controller]:
    controller = Controller(iotcore, "")
    yield controller
    controller.close()


@pytest.fixture
def shoal(controller: Controller, tmp_path: Path) -> Shoal:
    shoal = Shoal(f"http://127.0.0.1:{controller.api_port}", tmp_path / "config")
    code, _, err = shoal("login", given=f"{controller.password}\n")
    assert code == 0, err
    return shoal


@pytest.fixture
def agent(controller: Controller, shoal: Shoal, tmp_path: Path) -> Iterator[Agent]:
    token = shoal.json("enrollment-tokens", "create", "--label", "site=lyon")["token"]
    agent = Agent(tmp_path / "agent", controller, token)
    online(controller, 1)
    yield agent
    agent.close()


LISTS = (
    "devices",
    "groups",
    "enrollment-tokens",
    "datasets",
    "models",
    "jobs",
    "rollouts",
    "commands",
    "executions",
    "federated-runs",
    "incremental-policies",
    "incremental-updates",
    "refusals",
    "alert-rules",
    "alerts",
    "webhooks",
)


def test_lists_when_there_is_nothing_then_say_so_and_are_empty_pages(shoal: Shoal) -> None:
    for noun in LISTS:
        code, out, err = shoal(noun, "list")
        assert (code, err, len(out.splitlines()), out.strip()[-1]) == (0, "", 1, "."), noun
        page = shoal.json(noun, "list")
        assert (page["items"], page["next_cursor"]) == ([], None), noun
        assert page.keys() == {"items", "next_cursor", "total"}, noun
    assert shoal("devices", "list")[1].startswith("No devices yet: make an enrolment token with `shoal enrollment")


def test_login_when_the_password_is_wrong_then_ends_with_1_and_keeps_the_login_before(shoal: Shoal) -> None:
    code, out, err = shoal("login", given="wrong\n")
    assert (code, out, err) == (1, "", "The name or the password is wrong. [auth.wrong_password]\n")
    assert shoal("fleet")[0] == 0


def test_logout_when_done_then_the_token_opens_nothing(shoal: Shoal) -> None:
    (mine,) = [token for token in shoal.json("tokens", "list")["items"] if token["name"].startswith("shoal on")]
    kept = json.loads((Path(shoal.environment["SHOAL_CONFIG"]) / "logins.json").read_text())
    (login,) = kept.values()
    assert login["id"] == mine["id"]
    assert shoal("logout")[0] == 0
    assert shoal("fleet") == (
        1,
        "",
        f"Not logged in to {shoal.environment['SHOAL_URL']}: run `shoal login`, or set SHOAL_TOKEN. "
        "[auth.not_logged_in]\n",
    )
    code, _, err = shoal("fleet", SHOAL_TOKEN=login["token"])
    assert (code, err.strip().endswith("That is the token in SHOAL_TOKEN. [auth.wrong_token]")) == (1, True)


def test_tokens_when_one_is_deleted_then_it_is_gone(shoal: Shoal, controller: Controller) -> None:
    (other,) = [token for token in shoal.json("tokens", "list")["items"] if token["name"] == "login"]
    assert shoal.json("tokens", "delete", other["id"]) == {"id": other["id"], "state": "deleted"}
    assert controller.api.get("/fleet").status_code == 401


def test_enrollment_token_when_revoked_then_the_list_says_so(shoal: Shoal) -> None:
    made = shoal.json("enrollment-tokens", "create", "--name", "hall", "--max-uses", "3")
    assert (made["max_uses"], len(made["token"].partition(".")[2])) == (3, 64)
    code, out, _ = shoal("enrollment-tokens", "revoke", made["id"])
    assert (code, out) == (0, f"Token {made['id']} enrols nobody any more.\n")
    (line,) = [line for line in shoal("enrollment-tokens", "list")[1].splitlines() if made["id"] in line]
    assert line.split()[1:] == ["hall", "revoked", "0", "of", "3", "–", "in", "1", "d"]


def test_list_when_it_has_pages_then_a_cursor_goes_on_and_all_reads_all(shoal: Shoal) -> None:
    ids = [shoal.json("enrollment-tokens", "create")["id"] for _ in range(3)][::-1]
    first = shoal.json("enrollment-tokens", "list", "--limit", "2")
    second = shoal.json("enrollment-tokens", "list", "--limit", "2", "--cursor", first["next_cursor"])
    assert [item["id"] for item in first["items"] + second["items"]] == ids
    everything = shoal.json("enrollment-tokens", "list", "--all")
    assert ([item["id"] for item in everything["items"]], everything["total"]) == (ids, 3)
    assert "--cursor" in shoal("enrollment-tokens", "list", "--limit", "2")[1]


def test_selector_when_wrong_then_shows_the_place_and_ends_with_2(shoal: Shoal) -> None:
    code, out, err = shoal("devices", "list", "--selector", "online and\n facts.memory_byte >= 2GiB")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "There is no field facts.memory_byte. Did you mean facts.memory_bytes?",
        "   facts.memory_byte >= 2GiB",
        "   ^^^^^^^^^^^^^^^^^ [selector.unknown_field]",
    ]
    for arguments in (
        ("commands", "send", "ping", "--selector", "online &"),
        ("devices", "export", "--selector", "online &"),
        ("labels", "preview", "--selector", "online &", "--set", "a=b"),
        ("groups", "create", "g", "--selector", "online &"),
    ):
        code, out, err = shoal(*arguments)
        assert (code, out, "[selector.syntax]" in err) == (2, "", True), arguments


def test_selector_when_used_by_commands_then_finds_groups_labels_and_exports_devices(
    shoal: Shoal, agent: Agent, tmp_path: Path
) -> None:
    (device,) = shoal.json("devices", "list", "--selector", 'labels.site == "lyon"', "--state", "active")["items"]
    assert shoal("devices", "list", "--offline")[1] == "No device is like that.\n"
    made = shoal.json("groups", "create", "lyon", "--selector", 'labels.site=="lyon"', "--description", "by the river")
    assert (made["selector"], made["devices"], made["online"]) == ('labels.site == "lyon"', 1, 1)
    assert "by the river" in shoal("groups", "list")[1]
    assert "1, 1 online" in shoal("groups", "show", "lyon")[1]
    edit = ("--selector", 'group == "lyon"', "--set", "ring=1", "--remove", "site")
    assert shoal.json("labels", "preview", *edit) == {"matched": 1, "changed": 1, "examples": [device["id"]]}
    assert shoal("labels", "apply", *edit, "--expected", "2")[0] == 1
    assert "Changed" in shoal("labels", "apply", *edit, "--expected", "1")[1]
    assert shoal.json("devices", "show", device["id"])["groups"] == []
    assert shoal.json("groups", "change", "lyon", "--selector", 'labels has "ring"')["devices"] == 1
    code, out, _ = shoal("devices", "export", "--label", "ring=1")
    assert (code, out.splitlines()[1].split(",")[0]) == (0, device["id"])
    file = tmp_path / "devices.json"
    assert shoal("devices", "export", "--format", "json", "--file", str(file))[0] == 0
    assert [one["labels"] for one in json.loads(file.read_text())] == [{"ring": "1"}]
    assert shoal("groups", "delete", "lyon")[1] == "Deleted the group lyon.\n"


def test_command_when_used_wrongly_then_ends_with_2(shoal: Shoal) -> None:
    roll_out = ("rollouts", "create", "--model", "linear", "--version", "1")
    for arguments in (
        ("nonsense",),
        ("devices", "list", "--limit", "many"),
        roll_out,
        (*roll_out, "--all", "--device", "d-a"),
        (*roll_out, "--all", "--wave", "lots"),
        ("versions", "show", "linear"),
        ("datasets", "create", "x.npz", "--name", "x", "--role", "gold"),
        ("commands", "send", "ping"),
        ("commands", "send", "dance", "--all"),
        ("commands", "send", "ping", "--all", "--priority", "urgent"),
        ("devices", "retire"),
        ("models", "create", "NOT A NAME", "--input-shape", "4", "--classes", "a,b"),
        ("models", "create", "digits", "--input", "image:FP32:1x8"),
        ("models", "create", "digits", "--input", "image:FP32:-1,8"),
    ):
        code, out, err = shoal(*arguments)
        assert (code, out, err != "") == (2, "", True), arguments


def test_command_when_it_fails_then_is_one_sentence_and_1(shoal: Shoal) -> None:
    for arguments, code in (
        (("devices", "show", "d-nobody"), "device.not_found"),
        (("jobs", "watch", "nothing"), "job.not_found"),
        (("executions", "cancel", "nothing"), "execution.not_found"),
        (("commands", "show", "nothing"), "command.not_found"),
        (("devices", "merge", "d-nobody"), "device.not_found"),
        (("versions", "list", "nothing"), "model.not_found"),
        (("devices", "list", "--cursor", "!"), "page.bad_cursor"),
        (("datasets", "create", "/nowhere.npz", "--name", "x", "--role", "golden"), "file.unusable"),
        (("inference", "infer", "linear/1", "/nowhere.npy"), "file.unusable"),
    ):
        ended, out, err = shoal(*arguments)
        assert (ended, out, err.count("\n")) == (1, "", 1), arguments
        assert err.endswith(f"[{code}]\n"), arguments


def test_command_when_nobody_answers_then_says_where_and_ends_with_1(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, out, err = Shoal(url, tmp_path)("fleet", SHOAL_TOKEN="x")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"The controller at {url} does not answer")
    assert err.endswith("[client.unreachable]\n")


def test_registry_when_filled_by_the_command_then_work_on_it_can_be_watched(shoal: Shoal, tmp_path: Path) -> None:
    heldout, programs = split().heldout, trained()
    np.savez(tmp_path / "eval.npz", x=heldout.x, y=heldout.y)
    (tmp_path / "golden.safetensors").write_bytes(encode_tensors({"x": heldout.x[:32], "y": heldout.y[:32]}))
    dataset = shoal.json("datasets", "create", str(tmp_path / "eval.npz"), "--name", "held", "--role", "evaluation")
    assert (dataset["samples"], dataset["tensors"]["x"]["shape"]) == (200, [1, 8, 8])
    assert shoal.json("datasets", "show", "held") == dataset
    shoal.json("datasets", "create", str(tmp_path / "eval.npz"), "--name", "own", "--role", "calibration")
    shoal.json("datasets", "create", str(tmp_path / "golden.safetensors"), "--name", "golden", "--role", "golden")
    options = ("--input-shape", "1,8,8", "--classes", "0,1,2,3,4,5,6,7,8,9")
    model = shoal.json("models", "create", "digits", *options)
    assert model["signature"]["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    files = {"train.pt2": programs.train_program, "eval.pt2": programs.eval_program, "w.safetensors": programs.weights}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    uploaded = [str(tmp_path / name) for name in files]
    version = shoal.json("versions", "create", "digits", *uploaded, "--notes", "first", "--watch")
    assert (version["lineage"], version["state"]) == ({"notes": "first"}, "ready")
    assert [version["number"] for version in shoal.json("versions", "list", "digits")["items"]] == [1]

    code, out, err = shoal("versions", "evaluate", "digits/1", "held", "--watch")
    assert (code, ["State", "succeeded"] in [line.split() for line in out.splitlines()]) == (0, True), err
    assert "100%" in err
    recipe = ("--recipe", "fp32:onnxruntime", "--calibration", "own", "--evaluation", "held", "--golden", "golden")
    job = shoal.json("compressions", "create", "digits/1", *recipe)
    assert job["state"] in ("queued", "running")
    ended = shoal("compressions", "watch", job["id"], "--json")
    assert (ended[0], json.loads(ended[1])["state"], ended[2]) == (0, "succeeded", "")
    (variant,) = shoal.json("variants", "list", "digits/1")["items"]
    assert (variant["recipe"], variant["runtime"]) == ("fp32", "onnxruntime")
    np.save(tmp_path / "x.npy", heldout.x[:3])
    answer = shoal.json("inference", "infer", "digits/1", str(tmp_path / "x.npy"), "--variant", variant["id"])
    assert answer["outputs"][0]["shape"] == [3, 10]
    assert {entry["action"] for entry in shoal.json("audit", "list")["items"]} >= {"dataset.create", "model.create"}


def test_rollout_when_watched_then_its_end_is_the_exit_code(
    shoal: Shoal, controller: Controller, agent: Agent, tmp_path: Path
) -> None:
    (device,) = shoal.json("devices", "list", "--label", "site=lyon")["items"]
    assert shoal.json("devices", "list", "--label", "site=bonn")["items"] == []
    start = ("rollouts", "create", "--model", "linear", "--version")
    controller.new_version()
    code, out, err = shoal(*start, "1", "--device", device["id"], "--wave", "100%", "--watch")
    assert (code, "succeeded, 1 of 1 proven" in err) == (0, True), err
    assert ["State", "succeeded"] in [line.split() for line in out.splitlines()]
    assert f"{device['id']}  active  online  linear/1  site=lyon" in shoal("devices", "list")[1]
    assert [receipt["version"] for receipt in shoal.json("devices", "receipts", device["id"])["items"]] == [1]

    controller.new_version(WEIGHTS[:, ::-1].copy(), golden=golden_of(WEIGHTS))
    code, out, _ = shoal(*start, "2", "--label", "site=lyon", "--watch", "--json")
    paused = json.loads(out)
    assert (code, paused["state"]) == (1, "paused")
    (target,) = shoal.json("rollouts", "targets", paused["id"])["items"]
    assert target["code"] == "golden.failed"
    assert "golden.failed" in shoal("executions", "list", "--owner", paused["id"])[1]
    assert shoal.json("rollouts", "cancel", paused["id"])["state"] == "canceled"
    assert shoal("rollouts", "watch", paused["id"])[0] == 1

    np.save(tmp_path / "x.npy", samples(2))
    code, out, err = shoal("inference", "infer", "linear/1", str(tmp_path / "x.npy"))
    assert (code, [line.split()[1] for line in out.splitlines()[-2:]]) == (
        0,
        ["abc"[k] for k in np.argmax(samples(2) @ WEIGHTS, axis=1)],
    ), err


def test_watch_when_interrupted_then_says_that_the_work_goes_on(
    shoal: Shoal, controller: Controller, agent: Agent
) -> None:
    agent.close()
    controller.new_version()
    rollout = shoal.json("rollouts", "create", "--model", "linear", "--version", "1", "--all")
    watching = subprocess.Popen(
        shoal.command("rollouts", "watch", rollout["id"]),
        env={**shoal.environment, "FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stderr is not None
    assert watching.stderr.read(1)
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err.strip().endswith("Stopped watching; the work itself goes on.")) == (130, True)
    assert shoal.json("rollouts", "show", rollout["id"])["state"] == "running"


def test_machine_when_its_token_needs_approval_then_it_waits_until_it_is_approved(
    shoal: Shoal, controller: Controller, tmp_path: Path
) -> None:
    made = shoal("enrollment-tokens", "create", "--needs-approval")[1]
    assert "by `shoal devices approve`" in made
    assert f"sudo shoal-agent install --controller-url https://127.0.0.1:{controller.device_port}" in made
    (token,) = (line.rpartition("=")[2] for line in made.splitlines() if "SHOAL_AGENT_TOKEN" in line)
    assert "by an operator" in shoal("enrollment-tokens", "list")[1]
    agent = Agent(tmp_path / "agent", controller, token)
    pending = wait_for(lambda: shoal.json("devices", "list", "--state", "pending")["items"])
    (device_id,) = (machine["id"] for machine in pending)
    assert pending[0]["facts"]["hostname"] in shoal("devices", "list")[1]

    code, out, err = shoal("devices", "approve", "d-nobody", device_id)
    assert (code, out) == (1, f"{device_id} is active.\n")
    assert err == "d-nobody: There is no device d-nobody. [device.not_found]\n"
    online(controller, 1)
    code, out, err = shoal("commands", "send", "restart-agent", "--device", device_id, "--watch")
    assert (code, "1 succeeded" in err, "agent 0." in out) == (0, True, True), err
    assert ["State", "succeeded"] in [line.split() for line in out.splitlines()]

    assert shoal("devices", "suspend", device_id, "--reason", "smoke") == (0, f"{device_id} is suspended: smoke.\n", "")
    assert "smoke" in shoal("devices", "list")[1]
    (certificate,) = shoal.json("devices", "certificates", device_id)["items"]
    assert certificate["revoked_at"] is not None
    ends = {session["end"] for session in shoal.json("devices", "sessions", device_id)["items"]}
    assert "refused" in ends
    assert shoal("devices", "activate", device_id)[1] == f"{device_id} is active.\n"
    code, _, err = shoal("devices", "retire", device_id, given="n\n")
    assert (code, "no way back" in err) == (1, True)
    refused = shoal("devices", "retire", device_id, "d-nobody", "--reason", "sold", "--yes", "--json")
    told = json.loads(refused[1])
    assert [device["state_reason"] for device in told["items"]] == ["sold"]
    assert (refused[0], [one["code"] for one in told["refused"]]) == (1, ["device.not_found"])
    agent.kill()


def test_command_when_a_device_is_away_then_it_waits_in_words_and_can_be_canceled(
    shoal: Shoal, controller: Controller, agent: Agent
) -> None:
    agent.close()
    wait_for(lambda: not shoal.json("devices", "list", "--online")["items"])
    command = shoal.json("commands", "send", "ping", "--all", "--priority", "low", "--expires-in-s", "600")
    assert (command["counts"], command["is_done"]) == ({"queued": 1}, False)
    assert "device offline" in shoal("commands", "show", command["id"])[1]
    (execution,) = shoal.json("executions", "list", "--owner", command["id"])["items"]
    shown = [line.split() for line in shoal("executions", "show", execution["id"])[1].splitlines()]
    assert (["Priority", "low"] in shown, ["Attempt", "0", "of", "3"] in shown) == (True, True)
    assert ["Expires", "in", "10", "min"] in shown
    assert shoal.json("executions", "cancel", execution["id"])["state"] == "canceled"
    assert shoal("executions", "cancel", execution["id"])[2].endswith("[execution.ended]\n")
    assert shoal("commands", "watch", command["id"])[0] == 1
    assert shoal.json("commands", "cancel", command["id"])["is_done"]


def test_log_when_collected_then_is_printed_or_written_and_another_execution_has_none(
    shoal: Shoal, controller: Controller, agent: Agent, tmp_path: Path
) -> None:
    (device,) = shoal.json("devices", "list")["items"]
    code, out, err = shoal(
        "commands", "send", "collect-logs", "--device", device["id"], "--log-bytes", "2048", "--watch"
    )
    assert (code, "of its log" in out) == (0, True), err
    (execution,) = shoal.json("executions", "list", "--kind", "command")["items"]
    code, printed, _ = shoal("executions", "log", execution["id"])
    assert (code, printed.startswith(f"# {device['id']}, agent ")) == (0, True)
    assert shoal("executions", "log", execution["id"], "--output", str(tmp_path / "device.log"))[0] == 0
    assert (tmp_path / "device.log").read_text() == printed
    assert len(printed.encode()) == execution["result"]["log"]["size_bytes"] <= 2048
    assert shoal("commands", "send", "ping", "--all", "--log-bytes", "2048")[0] == 2
    ping = shoal.json("commands", "send", "ping", "--all", "--watch")
    (answered,) = shoal.json("executions", "list", "--owner", ping["id"])["items"]
    code, _, err = shoal("executions", "log", answered["id"])
    assert (code, "execution.no_log" in err) == (1, True)


def test_data_when_to_be_forgotten_then_it_is_asked_first(shoal: Shoal, controller: Controller, agent: Agent) -> None:
    code, _, err = shoal("commands", "send", "forget-data", "--all", given="n\n")
    assert (code, "Nobody can bring it back" in err) == (1, True)
    assert shoal.json("commands", "list")["items"] == []
    code, out, err = shoal("commands", "send", "forget-data", "--all", "--yes", "--watch")
    assert (code, "deleted 0 B of datasets" in out) == (0, True), err
