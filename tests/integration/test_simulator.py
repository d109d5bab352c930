"""A virtual fleet as a process on a real controller, over both brokers."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.voyage import Controller
from tests.rig import BrokerAt, free_port, wait_for

DEVICES = 30


@pytest.fixture
def controller(broker: BrokerAt) -> Iterator[Controller]:
    controller = Controller(broker, "")
    yield controller
    controller.close()


class Simulator:
    """The process, and what it told last."""

    def __init__(self, controller: Controller, state: Path, token: str, *options: str, devices: int = DEVICES) -> None:
        self._command = [
            sys.executable,
            "-m",
            "agent",
            "simulate",
            "--devices",
            str(devices),
            "--controller",
            f"https://127.0.0.1:{controller.device_port}",
            "--state",
            str(state),
            *options,
        ]
        self._environment = {**os.environ, "SHOAL_AGENT_TOKEN": token}
        self.told: dict[str, Any] = {}
        self.troubles: list[dict[str, str]] = []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told = json.loads(line)
            self.troubles += self.told["troubles"]

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def end(self) -> tuple[int, str]:
        self.process.terminate()
        return self.wait()

    def wait(self) -> tuple[int, str]:
        code = self.process.wait(60)
        self._reader.join()
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            said = stderr.read()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code, said


@pytest.fixture
def simulate(controller: Controller, tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    made: list[Simulator] = []

    def start(*options: str, token: str = "", **others: Any) -> Simulator:
        given = token or new_token(controller, DEVICES)
        made.append(Simulator(controller, tmp_path / "simulator", given, *options, **others))
        return made[-1]

    yield start
    for simulator in made:
        with suppress(ValueError):  # it was ended, and its pipes are closed
            simulator.kill()


def new_token(controller: Controller, uses: int) -> str:
    answer = controller.api.post("/enrollment-tokens", json={"max_uses": uses})
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def online(controller: Controller) -> int:
    count: int = controller.get("/fleet")["online"]
    return count


def ids(controller: Controller) -> dict[str, str]:
    devices = controller.get("/devices", limit=200)["items"]
    return {device["id"]: device["facts"]["hostname"] for device in devices}


def commanded(controller: Controller, name: str) -> dict[str, Any]:
    """Ask all devices for something and wait until all have answered; gives the counts by state."""
    answer = controller.api.post("/commands", json={"name": name, "selector": "all"})
    assert answer.status_code == 201, answer.text
    path = f"/commands/{answer.json()['id']}"
    wait_for(lambda: controller.get(path)["is_done"], 60)
    counts: dict[str, Any] = controller.get(path)["counts"]
    return {state: count for state, count in counts.items() if count}


def test_fleet_when_simulated_then_enrols_answers_and_comes_back_after_a_kill(
    controller: Controller, simulate: Callable[..., Simulator]
) -> None:
    simulator = simulate("--set", "restart_s=0.1", "--set", "benchmark_s=0.2")
    wait_for(lambda: online(controller) == DEVICES, 60)
    before = ids(controller)
    assert len(before) == len(set(before.values())) == DEVICES
    for name in ("ping", "collect_logs", "benchmark", "forget_data", "restart_agent"):
        assert commanded(controller, name) == {"succeeded": DEVICES}
    wait_for(lambda: simulator.told["restarts"] == DEVICES, 60)

    simulator.kill()
    wait_for(lambda: online(controller) == 0, 60)
    simulator.start()
    wait_for(lambda: online(controller) == DEVICES, 60)
    assert ids(controller) == before
    assert commanded(controller, "ping") == {"succeeded": DEVICES}
    assert controller.get("/fleet")["states"] == {"active": DEVICES}

    assert simulator.end() == (0, "")
    wait_for(lambda: online(controller) == 0, 60)
    sessions = controller.get(f"/devices/{next(iter(before))}/sessions")["items"]
    assert sessions[0]["end"] == "clean"
    assert len({one["session"] for one in sessions}) == len(sessions) >= 3


def test_rollout_when_steps_fail_by_the_profile_then_receipts_prove_the_others(
    controller: Controller, simulate: Callable[..., Simulator]
) -> None:
    simulate("--set", "failure_ratio=0.4", "--set", "trial_s=0.1", "--set", "load_s=0.1", "--seed", "3")
    wait_for(lambda: online(controller) == DEVICES, 60)
    body = {
        "model": "linear",
        "version": controller.new_version(),
        "selector": 'facts.runtimes has "onnxruntime"',
        "waves": [{"ratio": 1.0}],
        "error_ratio_limit": 1.0,
    }
    answer = controller.api.post("/rollouts", json=body)
    assert answer.status_code == 201, answer.text
    found = controller.await_state(answer.json()["id"], "succeeded", 120)
    receipts = controller.get("/receipts", limit=200)["items"]
    assert 0 < found["failed"] < found["devices"]
    assert found["succeeded"] + found["failed"] == found["devices"]
    assert len({receipt["device_id"] for receipt in receipts}) == found["succeeded"]
    assert all(receipt["golden_passed"] for receipt in receipts)


def test_network_when_it_goes_by_the_profile_then_devices_are_lost_and_return(
    controller: Controller, simulate: Callable[..., Simulator]
) -> None:
    simulator = simulate(
        *("--set", "offline_per_day=8640", "--set", "offline_s=1"),
        *("--set", "sample_interval_s=2", "--set", "telemetry_interval_s=1"),
    )
    wait_for(lambda: simulator.told.get("sessions", 0) >= DEVICES + 20, 60)
    device_ids = list(ids(controller))

    def lost() -> bool:
        ends = [
            one["end"] for device_id in device_ids for one in controller.get(f"/devices/{device_id}/sessions")["items"]
        ]
        return "lost" in ends

    wait_for(lost, 60)
    wait_for(lambda: simulator.told["telemetry"] > 0, 90)
    assert controller.get("/fleet")["states"] == {"active": DEVICES}


def test_token_when_it_is_good_for_fewer_devices_then_the_others_are_refused_by_name(
    controller: Controller, simulate: Callable[..., Simulator]
) -> None:
    simulator = simulate(token=new_token(controller, 10))
    wait_for(lambda: simulator.told.get("refused") == 20 and simulator.told["online"] == 10, 60)
    assert simulator.told["codes"] == {"enrollment.token_spent": 20}
    assert len({trouble["device"] for trouble in simulator.troubles}) == 20
    simulator.kill()

    again = simulate(token=new_token(controller, 20))
    wait_for(lambda: again.told.get("online") == DEVICES, 60)
    assert len(ids(controller)) == DEVICES


def test_shares_when_in_two_processes_then_are_one_fleet(
    controller: Controller, simulate: Callable[..., Simulator]
) -> None:
    simulator = simulate("--processes", "2", "--join-rate", "20")
    wait_for(lambda: simulator.told.get("online") == DEVICES and online(controller) == DEVICES, 60)
    assert len(set(ids(controller).values())) == DEVICES
    assert simulator.end() == (0, "")
    wait_for(lambda: online(controller) == 0, 60)


def test_simulator_when_it_cannot_work_then_says_why_in_a_sentence(
    controller: Controller, simulate: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = simulate(token="no-token", devices=3)
    assert simulator.wait() == (1, "")
    assert simulator.told["codes"] == {"token.malformed": 3}
    assert simulate("--seed", "2", devices=3).wait()[1].endswith("[simulator.other_seed]\n")
    assert simulate("--set", "failure_ratio=2", devices=3).wait()[1].endswith("[profile.invalid]\n")


def test_controller_when_nobody_answers_then_is_counted_and_asked_again(controller: Controller, tmp_path: Path) -> None:
    controller.device_port, real = free_port(), controller.device_port
    simulator = Simulator(controller, tmp_path / "simulator", new_token(controller, 3), devices=3)
    wait_for(lambda: simulator.told.get("codes", {}).get("controller.unreachable", 0) >= 3, 60)
    assert {trouble["code"] for trouble in simulator.troubles} == {"controller.unreachable"}
    assert simulator.end() == (0, "")
    controller.device_port = real


def test_command_when_logged_in_then_makes_a_token_and_ends_at_ctrl_c(controller: Controller, tmp_path: Path) -> None:
    token = controller.api.headers["Authorization"].removeprefix("Bearer ")
    environment = {**os.environ, "SHOAL_URL": f"http://127.0.0.1:{controller.api_port}", "SHOAL_TOKEN": token}
    command = [sys.executable, "-m", "shoal.cli", "simulate", "--devices", "3", "--json", "--label", "site=lyon"]
    with subprocess.Popen(
        [*command, "--state", str(tmp_path / "simulator")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        told = next(line for line in process.stdout if json.loads(line)["online"] == 3)
        process.send_signal(signal.SIGINT)
        left = [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 0
        assert process.stderr.read() == "Saying goodbye for all devices.\n"
    assert json.loads(told)["enrolled"] == 3
    assert left[-1]["online"] == 0
    assert {device["labels"]["site"] for device in controller.get("/devices")["items"]} == {"lyon"}
