"""A device's first day: enrols, is given a variant, proves it, serves; and what a kill or a bad artifact does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.e2e.voyage import Agent, Controller, online
from tests.models import WEIGHTS, golden_of, samples
from tests.rig import wait_for


def infer(device: dict[str, Any], x: NDArray[np.float32]) -> httpx.Response:
    body = {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}
    return httpx.post(f"{device['facts']['inference_url']}/v2/models/linear/infer", json=body)


def test_devices_when_enrolled_then_a_rollout_is_proven_and_they_serve(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agents = [new_agent(), new_agent()]
    devices = online(controller, 2)
    assert {device["labels"]["site"] for device in devices} == {"lyon"}
    rollout = controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    assert [wave["counts"] for wave in rollout["waves"]] == [{"succeeded": 1}, {"succeeded": 1}]
    for device in devices:
        (receipt,) = controller.get(f"/devices/{device['id']}/receipts")["items"]
        assert (receipt["golden_passed"], receipt["version"], receipt["is_fallback"]) == (True, 1, False)
        answer = infer(device, samples(5)).json()
        got = np.array(answer["outputs"][0]["data"]).reshape(5, 3)
        np.testing.assert_allclose(got, samples(5) @ WEIGHTS, atol=1e-5)
    wait_for(lambda: controller.api.get(f"/devices/{devices[0]['id']}/telemetry").status_code == 200)
    assert [slot["state"] for slot in agents[0].status()["slots"]] == ["serving"]


def test_second_version_when_its_golden_set_fails_on_the_device_then_the_first_goes_on_serving(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    new_agent()
    (device,) = online(controller, 1)
    controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    other = WEIGHTS[:, ::-1].copy()
    rollout_id = controller.roll_out(controller.new_version(other, golden=golden_of(WEIGHTS)))
    controller.await_state(rollout_id, "paused")
    (target,) = controller.get(f"/rollouts/{rollout_id}/targets")["items"]
    assert (target["state"], target["code"]) == ("failed", "golden.failed")
    assert infer(device, samples(1)).json()["model_version"] == "1"


def test_artifact_when_its_bytes_differ_from_its_digest_then_the_step_fails_by_name(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    new_agent()
    online(controller, 1)
    rollout_id = controller.roll_out(controller.new_version(claimed="0" * 64))
    controller.await_state(rollout_id, "paused")
    (target,) = controller.get(f"/rollouts/{rollout_id}/targets")["items"]
    assert (target["state"], target["code"]) == ("failed", "artifact.digest_mismatch")


def test_agent_when_killed_in_mid_download_then_resumes_and_the_rollout_succeeds(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    size = 400_000_000  # long enough to be killed in
    rollout_id = controller.roll_out(controller.new_version(padding_bytes=size))
    part = wait_for(lambda: next(iter((agent.state / "artifacts").glob("*.part")), None))
    wait_for(lambda: part.stat().st_size > 10_000_000)
    agent.kill()
    have = part.stat().st_size
    assert have < size
    agent.start()
    controller.await_state(rollout_id, "succeeded", 120)
    assert online(controller, 1)[0]["id"] == device["id"]


def test_device_when_killed_while_serving_then_proves_itself_again(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    agent.kill()
    agent.start()
    wait_for(lambda: len(controller.get(f"/devices/{device['id']}/receipts")["items"]) == 2, 30)
    assert infer(device, samples(1)).status_code == 200


def test_controller_when_killed_in_mid_rollout_then_the_rollout_goes_on(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    for _ in range(2):
        new_agent()
    online(controller, 2)
    rollout_id = controller.roll_out(controller.new_version())
    controller.kill()
    controller.start()
    controller.await_state(rollout_id, "succeeded", 60)


def test_agent_when_its_token_is_wrong_then_says_so_and_ends_with_1(controller: Controller, tmp_path: Path) -> None:
    good = controller.token()
    agent = Agent(tmp_path / "agent", controller, f"nonsense.{good.partition('.')[2]}")
    assert agent.process.wait(30) == 1
    assert (agent.state / "log").read_text().strip().endswith("[enrollment.wrong_token]")
    other = Agent(tmp_path / "other", controller, f"{good.partition('.')[0]}.{'0' * 64}")
    assert other.process.wait(30) == 1
    assert (other.state / "log").read_text().strip().endswith("[ca.not_pinned]")
