"""Compression and evaluation on a real Ray, asked for over REST, with the demo's network and data."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from controller.artifacts.lineage import DatasetRole
from controller.db import Database
from controller.keys import Keys
from shoal.client import ApiError, Client, Unreachable
from shoal.runtimes import load_runtime
from shoal.runtimes.golden import check_golden
from shoal.schemas.artifacts import DatasetRequest, EvaluationRequest, Variant
from shoal.schemas.inference import InferInput, InferRequest
from shoal.schemas.jobs import Job, Trial
from shoal.training.programs import read_weights
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests.compressing import Controller, everything, split, trained
from tests.databases import make_tables
from tests.rig import free_port, is_listening, wait_for

FP32_ONLY = [{"name": "fp32", "runtimes": ["onnxruntime"]}]
PRUNED: dict[str, Any] = {
    "name": "half",
    "steps": [{"op": "prune", "keep": 0.5, "training": {"epochs": 4}}, {"op": "quantize"}],
    "runtimes": ["onnxruntime"],
}


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def ray_processes(controller: Controller) -> list[psutil.Process]:
    return [process for process in controller.descendants() if "ray" in process.name()]


def workers(controller: Controller) -> list[psutil.Process]:
    return [process for process in ray_processes(controller) if "_Worker" in process.name()]


@contextmanager
def running(state: Path, **settings: object) -> Iterator[Controller]:
    """A controller with the digits in it; nothing of it is left afterwards."""
    controller = Controller(state, **settings)
    try:
        controller.register(trained())
        yield controller
        left = controller.descendants()
    finally:
        controller.close()
    assert controller.process.returncode == 0
    wait_for(lambda: not any(is_alive(process) for process in left))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One controller, and one Ray, for the tests that end neither."""
    with running(tmp_path_factory.mktemp("compression") / "state", converter_python="/nowhere/python") as controller:
        yield controller


def variants(controller: Controller, version: int) -> dict[tuple[str, str], Variant]:
    found = controller.client.models.list_variants("digits", version).items
    assert len({(variant.recipe, variant.runtime) for variant in found}) == len(found)
    return {(variant.recipe, variant.runtime): variant for variant in found}


def trials(controller: Controller, job: Job) -> dict[str, Trial]:
    found = controller.client.jobs.trials(job.id, limit=500).items
    return {f"{trial.recipe}/{trial.runtime}": trial for trial in found}


def lines(controller: Controller, job: Job) -> list[str]:
    return [line.text for line in controller.client.jobs.log(job.id, limit=500).items]


def stored(controller: Controller, sha256: str) -> Path:
    return controller.state / "blobs" / "sha256" / sha256[:2] / sha256


def test_version_when_compressed_then_its_variants_are_small_exact_and_proven(shared: Controller) -> None:
    job = shared.ended(shared.compress(1))
    assert (job.state, job.code, job.progress, job.attempt) == ("succeeded", "", 1.0, 1)
    found = variants(shared, 1)
    fp32, int8 = found["fp32", "onnxruntime"], found["int8", "onnxruntime"]
    assert found["int8", "openvino"].sha256 == int8.sha256
    assert int8.size_bytes <= 0.30 * fp32.size_bytes
    assert fp32.accuracy > 0.95
    for variant in found.values():
        # One point: what static quantization may cost the demo's network.
        assert variant.accuracy >= fp32.accuracy - 0.01
        assert (variant.agreement >= 0.98, variant.samples) == (True, 200)
        assert 0 < variant.latency_p50_ms < 100
        assert variant.figures["peak_memory_bytes"] > 0
        assert (variant.figures["macs"], variant.figures["parameters"]) == (604_800, 306_058)
        assert set(variant.lineage["datasets"]) == {"calibration", "evaluation", "golden"}
        # What a device will do: load the bytes, and compare with what this file gave in the cloud.
        model = load_runtime(variant.runtime).open(stored(shared, variant.sha256))
        golden = check_golden(model, stored(shared, variant.golden_sha256).read_bytes(), "classification")
        assert (golden.passed, golden.samples) == (True, 32)
    own = decode_tensors(stored(shared, int8.golden_sha256).read_bytes())
    reference = load_runtime("onnxruntime").open(stored(shared, int8.sha256))
    np.testing.assert_array_equal(own["input.input"], split().golden.x)
    answers = reference.infer({"input": own["input.input"]})["output"]
    np.testing.assert_allclose(answers, own["output.output"], atol=1e-5)

    x = split().golden.x[:4]
    tensor = InferInput(name="input", shape=list(x.shape), datatype="FP32", data=x.tolist())
    answer = shared.client.inference.infer("digits", 1, InferRequest(id="a", inputs=[tensor]), variant=int8.id)
    assert (answer.model_name, answer.model_version, answer.id) == ("digits", "1", "a")
    np.testing.assert_allclose(np.reshape(answer.outputs[0]["data"], (4, 10)), own["output.output"][:4], atol=1e-5)

    tried = trials(shared, job)
    assert {key: trial.state for key, trial in tried.items()} == dict.fromkeys(
        ("fp32/onnxruntime", "int8/onnxruntime", "int8/openvino"), "succeeded"
    )
    assert tried["int8/onnxruntime"].variant_id == int8.id
    assert any(trial.is_on_front for trial in tried.values())
    assert lines(shared, job)[-1] == "Succeeded."

    again = shared.ended(shared.compress(1))
    assert (again.state, again.result["variants"]) == ("succeeded", [])
    assert variants(shared, 1) == found


def test_version_when_evaluated_then_the_figures_stand_with_it_and_are_not_measured_twice(shared: Controller) -> None:
    files = trained()
    spoilt = {name: array * np.float32(0) for name, array in read_weights(files.weights).items()}
    shared.new_version(dataclasses.replace(files, weights=encode_tensors(spoilt)))
    jobs = [shared.client.models.evaluate("digits", n, EvaluationRequest(dataset="heldout")) for n in (1, 2, 1)]
    good, bad, again = [shared.ended(job) for job in jobs]
    assert [job.state for job in (good, bad, again)] == ["succeeded"] * 3
    assert good.result["accuracy"] > 0.95
    # Weights of zero give every digit the same score: the first class wins, a tenth of the balanced data set.
    assert (bad.result["accuracy"], bad.result["loss"]) == (0.1, pytest.approx(np.log(10), abs=1e-5))
    assert again.result == good.result
    (evaluation,) = shared.client.models.show_version("digits", 1).evaluations
    assert (evaluation.dataset, evaluation.accuracy, evaluation.samples) == ("heldout", good.result["accuracy"], 200)


def test_recipe_when_it_prunes_then_its_variant_is_smaller_and_its_network_is_made_once(shared: Controller) -> None:
    number = shared.new_version(trained()).number
    plain = {**PRUNED, "name": "half-float", "steps": PRUNED["steps"][:1]}
    int8 = {"name": "int8", "runtimes": ["onnxruntime"]}
    job = shared.ended(shared.compress(number, [PRUNED, plain, int8], training_dataset="shares"))
    assert (job.state, job.code) == ("succeeded", "")
    found = variants(shared, number)
    half, whole = found["half", "onnxruntime"], found["int8", "onnxruntime"]
    assert half.size_bytes < 0.75 * whole.size_bytes
    assert [step["op"] for step in half.recipe_steps] == ["prune", "quantize"]
    assert half.figures["macs"] <= 0.5 * whole.figures["macs"]
    assert half.accuracy >= whole.accuracy - 0.02
    assert sum(line.startswith("prune begins") for line in lines(shared, job)) == 1


def test_static_when_it_loses_too_much_then_is_trained_for_once_and_then_mixed_by_what_each_layer_loses(
    shared: Controller,
) -> None:
    # The same network, but for one channel two thousand times as large as the others: eight bits see nothing else.
    weights = {name: np.array(array) for name, array in read_weights(trained().weights).items()}
    weights["second.weight"][0] *= 2000
    weights["second.bias"][0] *= 2000
    weights["dense.weight"][:, :16] /= 2000
    version = shared.new_version(dataclasses.replace(trained(), weights=encode_tensors(weights)))
    few = shared.client.artifacts.create(encode_tensors({"x": everything().x[:64], "y": everything().y[:64]}))
    shared.client.datasets.create(DatasetRequest(name="few", role=DatasetRole.TRAINING, sha256=few.sha256))
    budget, int8 = {"max_accuracy_drop": 0.01}, [{"name": "int8", "runtimes": ["onnxruntime"]}]
    ended = [
        shared.ended(shared.compress(version.number, int8, budget=budget, **more))
        for more in ({"training_dataset": "few"}, {})
    ]
    taught, untaught = (trials(shared, job) for job in ended)
    assert [*taught] == ["int8/onnxruntime", "int8-aware/onnxruntime", "int8-mixed/onnxruntime"]
    assert all("accuracy" in trial.figures for trial in taught.values())
    assert sum(line.startswith("quantize begins") for line in lines(shared, ended[0])) == 1
    assert [*untaught] == ["int8/onnxruntime", "int8-mixed/onnxruntime"]
    assert untaught["int8/onnxruntime"].figures["accuracy"] < 0.5
    mixed = untaught["int8-mixed/onnxruntime"]
    assert (mixed.state, ended[1].state) == ("succeeded", "succeeded")
    layers = mixed.figures["sensitivity"]
    assert {layer["layer"] for layer in layers} == {"first", "second", "dense", "head"}
    assert max(layer["drop"] for layer in layers) > 0.3
    assert mixed.figures["float_layers"] == [layer["layer"] for layer in layers[:2]]


def test_recipe_when_its_converter_is_not_installed_then_the_job_is_refused_by_name_and_the_others_are_made(
    shared: Controller,
) -> None:
    version = shared.new_version(trained())
    job = shared.ended(shared.compress(version.number, [{"name": "fp32", "runtimes": ["onnxruntime", "litert"]}]))
    assert (job.state, job.code, "/nowhere/python" in job.message) == ("refused", "toolchain.missing", True)
    assert set(variants(shared, version.number)) == {("fp32", "onnxruntime")}


def test_budget_when_nothing_is_inside_then_is_refused_with_the_closest_and_makes_no_variant(
    shared: Controller,
) -> None:
    recipes = [{"name": "int8-dynamic", "runtimes": ["onnxruntime"]}, {"name": "fp16", "runtimes": ["onnxruntime"]}]
    job = shared.ended(shared.compress(1, recipes, budget={"max_size_bytes": 1000}))
    assert (job.state, job.code) == ("refused", "size.over_budget")
    assert job.result["closest"]["recipe"] == "int8-dynamic"
    assert job.result["closest"]["over"]["size"] > 1
    assert {trial.state for trial in trials(shared, job).values()} == {"refused"}
    assert not {"int8-dynamic", "fp16"} & {recipe for recipe, _ in variants(shared, 1)}


def test_job_when_canceled_in_training_then_stops_within_seconds_and_leaves_no_variant(shared: Controller) -> None:
    long = {**PRUNED, "name": "long", "steps": [{"op": "prune", "keep": 0.7, "training": {"epochs": 1000}}]}
    job = shared.compress(1, [long], training_dataset="shares")
    wait_for(lambda: any("prune begins" in line for line in lines(shared, job)), 90)
    busy = [process for process in shared.descendants() if "controller.jobs.confine" in process.cmdline()]
    assert shared.client.jobs.cancel(job.id).state == "canceled"
    wait_for(lambda: not all(is_alive(process) for process in busy), 10)
    with pytest.raises(ApiError) as caught:
        shared.client.jobs.cancel(job.id)
    assert caught.value.code == "job.illegal_transition"
    assert ("long", "onnxruntime") not in variants(shared, 1)


def test_search_when_the_controller_is_killed_in_it_then_goes_on_and_repeats_no_trial(tmp_path: Path) -> None:
    with running(tmp_path / "state") as controller:
        search = {"runtimes": ["onnxruntime"], "max_trials": 6}
        job = controller.compress(1, [], search=search, budget={"max_accuracy_drop": 0.03})
        wait_for(lambda: len(trials(controller, job)) >= 2, 120)
        controller.kill()
        controller.start()
        wait_for(lambda: is_listening(controller.api_port))
        before = trials(controller, job)
        ended = controller.ended(job)
        assert (ended.state, ended.code, ended.attempt) == ("succeeded", "", 2)
        after = trials(controller, job)
        assert len(after) > len(before) >= 2
        assert {key: after[key] for key in before} == {
            key: trial.model_copy(update={"is_on_front": after[key].is_on_front}) for key, trial in before.items()
        }
        assert len(variants(controller, 1)) == sum(trial.state == "succeeded" for trial in after.values())
        said = lines(controller, job)
        for trial in after.values():
            assert sum(line.startswith(f"{trial.recipe} on {trial.runtime}:") for line in said) == 1


def test_worker_when_killed_then_the_job_goes_on_with_another(shared: Controller) -> None:
    version = shared.new_version(trained())
    job = shared.compress(version.number)
    wait_for(lambda: "Opening" in shared.client.jobs.show(job.id).message, 60)
    for worker in workers(shared):
        worker.kill()
    ended = shared.ended(job)
    assert (ended.state, ended.attempt) == ("succeeded", 1)
    assert len(variants(shared, version.number)) == 3
    assert any("once more" in line for line in lines(shared, job))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with hardly any room."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_when_full_in_mid_job_then_fails_by_name_and_leaves_no_half_variant(
    tmp_path: Path, small_disk: Path
) -> None:
    with running(tmp_path / "state", blobs_url=(small_disk / "blobs").as_uri()) as controller:
        room = os.statvfs(small_disk)
        (small_disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize - 100_000))
        job = controller.ended(controller.compress(1))
        assert (job.state, job.code) == ("failed", "blobs.failed")
        assert variants(controller, 1) == {}
        (small_disk / "filler").unlink()
        assert controller.ended(controller.compress(1)).state == "succeeded"


def is_healthy(stranger: Client) -> bool:
    try:
        return stranger.observe.health() == {"status": "ok"}
    except Unreachable:
        return False


def test_api_when_started_then_imports_neither_torch_nor_ray(tmp_path: Path) -> None:
    Keys.open(tmp_path)
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    make_tables(database)
    database.close()
    port = free_port()
    environment = {**os.environ, "SHOAL_STATE": str(tmp_path), "SHOAL_API_PORT": str(port)}
    code = (
        "import sys; from controller import app; from controller.settings import Settings\n"
        "from importlib import import_module\n"
        "for room in ('jobs', 'compression', 'inference'): import_module(f'controller.{room}.service')\n"
        "app.run(app.Role.API, Settings.from_environment())\n"
        "print([name for name in ('torch', 'ray', 'onnxruntime', 'openvino', 'onnx') if name in sys.modules])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    with Client(f"http://127.0.0.1:{port}") as stranger:
        wait_for(lambda: is_healthy(stranger))  # it listens before it answers to signals
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert output.splitlines()[-1] == "[]"
