"""Compression and evaluation on a real Ray, asked for over REST, with the demo's network and data."""

import dataclasses
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from controller import migrate
from controller.db import Database
from controller.keys import Keys
from shoal.client import Client, Unreachable
from shoal.runtimes import load_runtime
from shoal.runtimes.golden import check_golden
from shoal.schemas.artifacts import EvaluationRequest, Variant
from shoal.schemas.inference import InferInput, InferRequest
from shoal.training.programs import read_weights
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests.compressing import Controller, split, trained
from tests.rig import free_port, is_listening, wait_for

FP32_ONLY = [{"name": "fp32", "runtimes": ["onnxruntime"]}]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(tmp_path / "state")
    yield controller
    left = controller.descendants()
    controller.close()
    assert controller.process.returncode == 0
    wait_for(lambda: not any(is_alive(process) for process in left))


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def ray_processes(controller: Controller) -> list[psutil.Process]:
    return [process for process in controller.descendants() if "ray" in process.name()]


def variants(controller: Controller, version: int) -> dict[tuple[str, str], Variant]:
    found = controller.client.models.list_variants("digits", version).items
    assert len({(variant.recipe, variant.runtime) for variant in found}) == len(found)
    return {(variant.recipe, variant.runtime): variant for variant in found}


def blob(controller: Controller, sha256: str) -> bytes:
    return (controller.state / "blobs" / "sha256" / sha256[:2] / sha256).read_bytes()


def test_version_when_compressed_then_its_variants_are_small_exact_and_proven(controller: Controller) -> None:
    controller.register(trained())
    assert ray_processes(controller) == []
    job = controller.ended(controller.compress(1))
    assert (job.state, job.code, job.progress, job.attempt) == ("succeeded", "", 1.0, 1)
    found = variants(controller, 1)
    fp32, int8 = found["fp32", "onnxruntime"], found["int8", "onnxruntime"]
    assert found["int8", "openvino"].sha256 == int8.sha256
    assert int8.size_bytes <= 0.30 * fp32.size_bytes
    assert fp32.accuracy > 0.95
    for variant in found.values():
        # One point: what static quantization may cost the demo's network.
        assert variant.accuracy >= fp32.accuracy - 0.01
        assert (variant.agreement >= 0.98, variant.samples) == (True, 200)
        assert 0 < variant.latency_p50_ms < 100
        # What a device will do: load the bytes, and compare with what this file gave in the cloud.
        model = load_runtime(variant.runtime).open(blob(controller, variant.sha256))
        golden = check_golden(model, blob(controller, variant.golden_sha256))
        assert (golden.passed, golden.samples) == (True, 32)
    own = decode_tensors(blob(controller, int8.golden_sha256))
    reference = load_runtime("onnxruntime").open(blob(controller, int8.sha256))
    np.testing.assert_array_equal(own["input"], split().golden.x)
    np.testing.assert_allclose(reference.infer(own["input"]), own["output"], atol=1e-5)

    x = split().golden.x[:4]
    tensor = InferInput(name="input", shape=list(x.shape), datatype="FP32", data=x.tolist())
    answer = controller.client.inference.infer("digits", 1, InferRequest(id="a", inputs=[tensor]), variant=int8.id)
    assert (answer.model_name, answer.model_version, answer.id) == ("digits", "1", "a")
    np.testing.assert_allclose(np.reshape(answer.outputs[0]["data"], (4, 10)), own["output"][:4], atol=1e-5)

    again = controller.ended(controller.compress(1))
    assert (again.state, again.result["variants"]) == ("succeeded", [])
    assert variants(controller, 1) == found


def test_version_when_evaluated_then_the_figures_stand_with_it_and_are_not_measured_twice(
    controller: Controller,
) -> None:
    files = trained()
    controller.register(files)
    spoilt = {name: array * np.float32(0) for name, array in read_weights(files.weights).items()}
    controller.new_version(dataclasses.replace(files, weights=encode_tensors(spoilt)))
    jobs = [controller.client.models.evaluate("digits", n, EvaluationRequest(dataset="heldout")) for n in (1, 2, 1)]
    good, bad, again = [controller.ended(job) for job in jobs]
    assert [job.state for job in (good, bad, again)] == ["succeeded"] * 3
    assert good.result["accuracy"] > 0.95
    # Weights of zero give every digit the same score: the first class wins, a tenth of the balanced data set.
    assert (bad.result["accuracy"], bad.result["loss"]) == (0.1, pytest.approx(np.log(10), abs=1e-5))
    assert again.result == good.result
    (evaluation,) = controller.client.models.show_version("digits", 1).evaluations
    assert (evaluation.dataset, evaluation.accuracy, evaluation.samples) == ("heldout", good.result["accuracy"], 200)


def test_program_when_it_is_a_zip_but_none_then_the_job_fails_by_name_and_nothing_changes(
    controller: Controller,
) -> None:
    files = trained()
    controller.register(dataclasses.replace(files, eval_program=empty_archive()))
    job = controller.ended(controller.compress(1))
    assert (job.state, job.code, job.result) == ("failed", "program.not_loadable", {})
    evaluated = controller.ended(controller.client.models.evaluate("digits", 1, EvaluationRequest(dataset="heldout")))
    assert (evaluated.state, evaluated.code) == ("failed", "program.not_loadable")
    version = controller.client.models.show_version("digits", 1)
    assert (version.variants, version.evaluations) == (0, [])
    controller.new_version(files)
    assert controller.ended(controller.compress(2, FP32_ONLY)).state == "succeeded"


def empty_archive() -> bytes:
    """An archive that has all that the upload's check looks at, and no program."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/archive_format", "pt2")
        archive.writestr("archive/models/model.json", "{}")
    return made.getvalue()


def test_weights_when_they_do_not_fit_the_program_then_the_job_fails_by_name(controller: Controller) -> None:
    other = encode_tensors({"weight": np.zeros(3, np.float32)})
    controller.register(dataclasses.replace(trained(), weights=other))
    job = controller.ended(controller.compress(1))
    assert (job.state, job.code) == ("failed", "model.weights_mismatch")


def test_controller_when_killed_in_mid_job_then_the_job_ends_after_a_restart_and_no_variant_is_made_twice(
    controller: Controller,
) -> None:
    controller.register(trained())
    first = controller.ended(controller.compress(1, FP32_ONLY))
    made = variants(controller, 1)
    job = controller.compress(1)
    controller.kill()
    controller.start()
    wait_for(lambda: is_listening(controller.api_port))
    ended = controller.ended(job)
    assert (first.state, ended.state, ended.progress) == ("succeeded", "succeeded", 1.0)
    found = variants(controller, 1)
    assert len(found) == 3
    assert found["fp32", "onnxruntime"] == made["fp32", "onnxruntime"]


def test_controller_when_killed_while_a_program_is_opened_then_the_job_is_begun_again(controller: Controller) -> None:
    controller.register(trained())
    job = controller.compress(1)
    wait_for(lambda: controller.client.jobs.show(job.id).state == "running", 60)
    controller.kill()
    controller.start()
    wait_for(lambda: is_listening(controller.api_port))
    ended = controller.ended(job)
    assert (ended.state, ended.attempt) == ("succeeded", 2)
    assert len(variants(controller, 1)) == 3


def test_worker_when_killed_then_its_job_fails_by_name_and_the_next_one_gets_another(controller: Controller) -> None:
    controller.register(trained())
    job = controller.compress(1)
    wait_for(lambda: "Opening" in controller.client.jobs.show(job.id).message, 60)
    (worker,) = [process for process in ray_processes(controller) if "_Worker" in process.name()]
    worker.kill()
    ended = controller.ended(job)
    assert (ended.state, ended.code) == ("failed", "job.worker_crashed")
    assert controller.ended(controller.compress(1)).state == "succeeded"


def is_healthy(stranger: Client) -> bool:
    try:
        return stranger.observe.health() == {"status": "ok"}
    except Unreachable:
        return False


def test_api_when_started_then_imports_neither_torch_nor_ray(tmp_path: Path) -> None:
    Keys.open(tmp_path)
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    migrate.upgrade(database)
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
