"""Virtual devices measure variants: each board its own figures, the same from the same seed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.simulator.boards import BOARDS
from agent.simulator.measuring import measured_variant
from agent.simulator.population import Machine, machine
from controller.artifacts import service as artifacts
from shoal.wire.devices import ArtifactRef
from shoal.wire.profiles import ProfileResult, ProfileSpec
from shoal.wire.rollouts import DesiredVariant
from tests.e2e.voyage import Controller
from tests.integration.test_simulator import DEVICES, Simulator, new_token, online
from tests.profiling import add_variant
from tests.rig import BrokerAt, wait_for


@pytest.fixture
def controller(iotcore: BrokerAt) -> Iterator[Controller]:
    controller = Controller(iotcore, "")
    yield controller
    controller.close()


@pytest.fixture
def simulate(controller: Controller, tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    made: list[Simulator] = []

    def start(*options: str) -> Simulator:
        made.append(Simulator(controller, tmp_path / "simulator", new_token(controller, DEVICES), *options))
        return made[-1]

    yield start
    for simulator in made:
        assert simulator.end()[0] == 0


def of_board(name: str) -> Machine:
    return next(one for number in range(1000) if (one := machine(1, number)).board.name == name)


def spec(recipe: str, size_bytes: int) -> ProfileSpec:
    ref = ArtifactRef(sha256="0" * 64, size_bytes=size_bytes)
    variant = DesiredVariant(
        model="m", version=1, variant_id="v", recipe=recipe, runtime="onnxruntime", artifact=ref, golden=ref
    )
    return ProfileSpec(variant=variant)


def test_figures_when_asked_again_then_are_the_same_and_follow_from_the_board() -> None:
    pi4, pi5 = of_board("pi4"), of_board("pi5")
    int8, fp32 = spec("int8", 1_000_000), spec("fp32", 4_000_000)
    assert measured_variant(pi5, int8, passed=True) == measured_variant(pi5, int8, passed=True)
    slow, fast = (measured_variant(one, int8, passed=True).latency_p50_ms for one in (pi4, pi5))
    assert slow > 2 * fast
    assert measured_variant(pi5, fp32, passed=True).latency_p50_ms > 2 * fast
    assert not measured_variant(pi5, int8, passed=False).golden.passed


@pytest.mark.parametrize("name", [board.name for board in BOARDS if "onnxruntime" in board.runtimes])
def test_figures_when_of_any_board_then_fit_the_wire(name: str) -> None:
    found = measured_variant(of_board(name), spec("fp32", 4_000_000), passed=True)
    assert msgspec.json.decode(msgspec.json.encode(found), type=ProfileResult) == found
    assert found.latency_p50_ms <= found.latency_p95_ms <= found.latency_p99_ms


def test_fleet_when_a_device_of_each_class_measures_then_each_class_has_its_figures(
    controller: Controller, simulate: Callable[..., Simulator]
) -> None:
    simulate("--set", "trial_s=0.1")
    wait_for(lambda: online(controller) == DEVICES, 60)
    number = controller.new_version()
    with controller.database.transaction() as session:
        version = artifacts.get_version(session, "linear", number)
        (fp32,) = artifacts.list_variants(session, version.id)
        columns = {"sha256": fp32.sha256, "golden_sha256": fp32.golden_sha256, "accuracy": 1.0}
        add_variant(session, version, "int8", "litert", fp32.size_bytes, **columns)
    answer = controller.api.post("/profiles", json={"model": "linear", "version": number, "selector": "all"})
    assert answer.status_code == 201, answer.text
    wanted = sum(answer.json()["executions"].values())
    path = f"/profilings/{answer.json()['id']}"
    wait_for(lambda: controller.get(path)["executions"] == {"succeeded": wanted}, 120)
    profiles: list[dict[str, Any]] = controller.get("/profiles", limit=500)["items"]
    assert len(profiles) == wanted
    assert len({(one["variant_id"], one["hardware_class"]) for one in profiles}) == wanted
    demand = controller.get(f"/models/linear/versions/{number}/demand")
    assert demand["devices"] == DEVICES
    litert = next(need for need in demand["needs"] if (need["recipe"], need["runtime"]) == ("int8", "litert"))
    assert litert["state"] == "present"
