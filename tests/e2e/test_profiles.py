"""A device measures the variants of a version, and a rollout gives it what was best there."""

from collections.abc import Callable
from typing import Any

import onnx
from onnx import helper
from sqlalchemy import select

from controller.artifacts import service as artifacts
from controller.artifacts.tables import VariantRow
from tests.e2e.voyage import Agent, Controller, online
from tests.models import WEIGHTS, golden_of, linear_onnx
from tests.profiling import add_variant
from tests.rig import wait_for


def slow_onnx(steps: int = 600) -> bytes:
    """The linear model in a small file that takes long: its output is negated an even number of times."""
    model = onnx.load_from_string(linear_onnx())
    graph = model.graph
    graph.node[-1].output[0] = "step0"
    for step in range(steps):
        target = "output" if step == steps - 1 else f"step{step + 1}"
        graph.node.append(helper.make_node("Neg", [f"step{step}"], [target]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def add_variants(controller: Controller, number: int) -> dict[str, str]:
    """Beside the plain and large fp32: a small one that is slow, and one that answers wrongly. Gives ids by recipe."""
    made = {"int8": slow_onnx(), "int8-wrong": linear_onnx(WEIGHTS[:, ::-1].copy())}
    with controller.database.transaction() as session:
        version = artifacts.get_version(session, "linear", number)
        (fp32,) = session.scalars(select(VariantRow).where(VariantRow.version_id == version.id))
        found = {fp32.recipe: fp32.id}
        golden, golden_size = controller.blobs.put_bytes(golden_of())
        artifacts.record_artifact(session, golden, golden_size, "test")
        for recipe, data in made.items():
            sha256, size = controller.blobs.put_bytes(data)
            artifacts.record_artifact(session, sha256, size, "test")
            columns: dict[str, Any] = {"sha256": sha256, "golden_sha256": golden, "accuracy": 1.0}
            found[recipe] = add_variant(session, version, recipe, "onnxruntime", size, **columns)
    return found


def explained(controller: Controller, number: int, device: dict[str, Any]) -> dict[str, Any]:
    found = controller.get(f"/models/linear/versions/{number}/explain", device=device["id"])
    return {one["recipe"]: one for one in found["candidates"]}


def test_device_when_it_measured_the_variants_then_a_rollout_gives_it_what_is_best_there(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    number = controller.new_version(padding_bytes=500_000)
    variants = add_variants(controller, number)
    before = explained(controller, number, device)
    assert {name: one["code"] for name, one in before.items()} == {
        "int8-wrong": "chosen",  # the smallest: nobody knows better
        "int8": "worse",
        "fp32": "worse",
    }
    body = {"model": "linear", "version": number, "selector": f"id in ({device['id']})", "runs": 100}
    answer = controller.api.post("/profiles", json=body)
    assert answer.status_code == 201, answer.text
    path = f"/profilings/{answer.json()['id']}"
    wait_for(lambda: controller.get(path)["executions"] == {"succeeded": 3}, 120)
    profiles = {one["recipe"]: one for one in controller.get("/profiles", model="linear")["items"]}
    assert {name: one["passed"] for name, one in profiles.items()} == {"fp32": True, "int8": True, "int8-wrong": False}
    assert all(one["figures"]["runs"] == 100 and one["hardware_class"] for one in profiles.values())
    found = explained(controller, number, device)
    assert found["int8-wrong"]["code"] == "golden.failed"
    assert (found["fp32"]["code"], found["int8"]["code"], found["fp32"]["source"]) == ("chosen", "worse", "profile")
    rollout_id = controller.roll_out(number)
    controller.await_state(rollout_id, "succeeded")
    (target,) = controller.get(f"/rollouts/{rollout_id}/targets")["items"]
    assert target["variant_id"] == variants["fp32"]
    assert [slot["state"] for slot in agent.status()["slots"]] == ["serving"]


def test_agent_when_killed_while_it_measures_then_goes_on_after_its_next_start(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    number = controller.new_version()
    body = {"model": "linear", "version": number, "selector": f"id in ({device['id']})", "runs": 10_000}
    answer = controller.api.post("/profiles", json=body)
    path = f"/profilings/{answer.json()['id']}"
    wait_for(lambda: controller.get(path)["executions"] == {"in_progress": 1}, 60)
    agent.kill()
    agent.start()
    wait_for(lambda: controller.get(path)["executions"] == {"succeeded": 1}, 120)
    (profile,) = controller.get("/profiles", model="linear")["items"]
    assert (profile["passed"], profile["device_id"], profile["figures"]["runs"]) == (True, device["id"], 10_000)
