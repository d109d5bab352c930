"""Profiles, explanations, demand, policies and boards through the operators' door: by the client and by the command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.artifacts import service as artifacts
from shoal.client import ApiError, Client
from shoal.schemas.profiles import AdviceRequest, BuildPolicy, ProfileRequest
from tests.e2e.voyage import Controller
from tests.profiling import (
    FAST,
    PI4,
    PI5,
    add_datasets,
    add_machine,
    add_variant,
    add_version,
    answer,
    open_profiles,
    result,
)
from tests.rig import BrokerAt


@pytest.fixture
def controller(iotcore: BrokerAt, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    catalogue = iotcore.state / "boards.json"
    board = {
        "name": "pi",
        "title": "Our Pi",
        "facts": ["Raspberry Pi 4 Model B"],
        "runtimes": ["onnxruntime"],
        "connectivity": ["ethernet"],
        "figures": {"load_w": {"value": 3.0, "unit": "W", "source": "our meter"}},
    }
    catalogue.write_text(json.dumps({"boards": [board]}))
    monkeypatch.setenv("SHOAL_BOARDS_FILE", str(catalogue))
    controller = Controller(iotcore, "")
    with controller.database.transaction() as session:
        version = add_version(session)
        add_variant(session, version, "fp32", "onnxruntime", 4_000_000)
        add_variant(session, version, "fp32", "torchscript", 4_000_000)
        add_datasets(session)
        add_machine(session, "d-aaaaaaaaaaaaaaaa", {**PI4, "measured": FAST}, online=False)
        add_machine(session, "d-bbbbbbbbbbbbbbbb", PI5, "litert", "onnxruntime", online=False)
    yield controller
    controller.close()


@pytest.fixture
def client(controller: Controller) -> Iterator[Client]:
    token = controller.api.headers["Authorization"].removeprefix("Bearer ")
    with Client(f"http://127.0.0.1:{controller.api_port}", token) as client:
        yield client


class Shoal:
    """The command."""

    def __init__(self, controller: Controller, folder: Path) -> None:
        token = controller.api.headers["Authorization"].removeprefix("Bearer ")
        url = f"http://127.0.0.1:{controller.api_port}"
        named = {"SHOAL_URL": url, "SHOAL_TOKEN": token, "SHOAL_CONFIG": str(folder), "COLUMNS": "160"}
        self._environment = {**os.environ, **named}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "shoal.cli", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def shoal(controller: Controller, tmp_path: Path) -> Shoal:
    return Shoal(controller, tmp_path)


WANTS: dict[str, Any] = {
    "selector": "all",
    "calibration_dataset": "calibration",
    "evaluation_dataset": "evaluation",
    "golden_dataset": "golden",
}


def test_client_when_profiles_are_wanted_and_come_then_they_explain_and_advise(
    controller: Controller, client: Client, tmp_path: Path
) -> None:
    wanted = client.profiles.create(ProfileRequest(model="linear", version=1, selector="id in (d-aaaaaaaaaaaaaaaa)"))
    assert wanted.executions == {"queued": 1}
    with controller.database.transaction() as session:
        answer(session, open_profiles(session)[0], result(7.0), tmp_path)
    (profile,) = client.profiles.list(model="linear", version=1).items
    assert (profile.figures["latency_p50_ms"], profile.passed, len(profile.history)) == (7.0, True, 1)
    assert client.profiles.list(variant=profile.variant_id, hardware_class=profile.hardware_class).items == [profile]
    assert client.profiles.list(model="other").items == []
    assert client.profiles.show_request(wanted.id).executions == {"succeeded": 1}
    assert [one.id for one in client.profiles.list_requests(model="linear").items] == [wanted.id]
    found = client.profiles.explain("linear", 1, "d-aaaaaaaaaaaaaaaa")
    assert (found.chosen, found.candidates[0].source) == (profile.variant_id, "profile")
    (advice,) = client.boards.advise("linear", 1, AdviceRequest(max_latency_ms=10, max_power_w=5)).items
    assert (advice.board, advice.verdict, advice.source) == ("pi", "serves", "profile")
    assert [board.figures["load_w"]["source"] for board in client.boards.list().items] == ["our meter"]


def test_client_when_something_is_wrong_then_is_refused_by_name(client: Client) -> None:
    for code, ask in (
        ("device.not_found", lambda: client.profiles.explain("linear", 1, "d-none")),
        ("version.not_found", lambda: client.builds.demand("linear", 9)),
        ("build_policy.not_found", lambda: client.builds.build("linear", 1)),
        ("build_policy.not_found", lambda: client.builds.remove_policy("linear")),
        ("profiling.not_found", lambda: client.profiles.show_request("none")),
        ("advice.unknown_connectivity", lambda: client.boards.advise("linear", 1, AdviceRequest(connectivity=["x"]))),
    ):
        with pytest.raises(ApiError) as refusal:
            ask()
        assert refusal.value.code == code


def test_client_when_it_builds_what_is_missing_then_a_job_is_wanted_once(client: Client) -> None:
    demand = client.builds.demand("linear", 1)
    assert [(one.recipe, one.runtime, one.state, one.devices) for one in demand.needs] == [
        ("int8", "onnxruntime", "missing", 2)
    ]
    job = client.builds.build("linear", 1, BuildPolicy.model_validate(WANTS))
    assert (job.kind, job.subject) == ("compress", "linear/1")


def test_client_when_a_policy_is_set_then_it_is_shown_and_goes(controller: Controller, client: Client) -> None:
    policy = BuildPolicy.model_validate({**WANTS, "profile": False})
    assert client.builds.set_policy("linear", policy) == policy
    assert client.builds.show_policy("linear") == policy
    client.builds.remove_policy("linear")
    with pytest.raises(ApiError):
        client.builds.show_policy("linear")


def test_command_when_asked_about_the_fit_of_a_model_then_tables_say_it(shoal: Shoal, client: Client) -> None:
    said = shoal("models", "explain", "linear", "--device", "d-aaaaaaaaaaaaaaaa")
    assert "fp32 onnxruntime" in said
    assert "runtime.missing" in said
    assert "The device does not offer torchscript." in said
    assert json.loads(shoal("models", "explain", "linear", "--device", "d-aaaaaaaaaaaaaaaa", "--json"))["version"] == 1
    said = shoal("models", "demand", "linear", "--selector", 'facts.runtimes has "litert"')
    assert "int8 onnxruntime" in said
    assert "missing" in said
    assert "Our Pi" in shoal("boards", "list")
    said = shoal("models", "advise", "linear", "--power-w", "5", "--connectivity", "ethernet")
    assert "serves" in said
    made = json.loads(shoal("profiles", "create", "linear/1", "--all", "--json"))
    assert made["executions"] == {"queued": 2}
    assert made["id"] in shoal("profiles", "requests")
    assert "queued" in shoal("profiles", "show", made["id"])
    assert "canceled=2" in shoal("profiles", "cancel", made["id"])
    assert "Nothing measured yet" in shoal("profiles", "list")
    datasets = ("--calibration", "calibration", "--evaluation", "evaluation", "--golden", "golden")
    assert "all devices" in shoal("models", "build-policy", "set", "linear", "--all", *datasets, "--no-profile")
    assert "calibration" in shoal("models", "build-policy", "show", "linear")
    assert "no build policy" in shoal("models", "build-policy", "remove", "linear")
    assert "[build_policy.not_found]" in shoal("models", "build", "linear", code=1)


def test_deleting_when_a_variant_was_measured_then_its_profiles_are_no_obstacle(
    controller: Controller, client: Client
) -> None:
    with controller.database.reading() as session:
        version = artifacts.get_version(session, "linear", 1)
        variant = artifacts.list_variants(session, version.id)[0].id
    client.profiles.create(ProfileRequest(model="linear", version=1, selector="all", variants=[variant]))
    assert controller.api.delete(f"/variants/{variant}").status_code == 204
    assert client.profiles.list().items == []
