"""The whole system with its blobs on a real S3 server: devices fetch from there, and data sets are imported there."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.voyage import Agent, Controller, online
from tests.models import WEIGHTS, samples
from tests.objectstore import SECRET_KEY, Between, ObjectStore
from tests.rig import BrokerAt, wait_for

_LARGE = 300_000_000


@pytest.fixture
def between(object_store: ObjectStore) -> Iterator[Between]:
    with Between(object_store) as between:
        yield between


@pytest.fixture
def controller(iotcore: BrokerAt, object_store: ObjectStore, between: Between, tmp_path: Path) -> Iterator[Controller]:
    settings = {**object_store.environment(tmp_path.name), "SHOAL_BLOBS_ENDPOINT": between.endpoint}
    controller = Controller(iotcore, "", settings)
    yield controller
    controller.close()
    assert SECRET_KEY not in (iotcore.state / "controller.log").read_text()


def test_device_when_the_blobs_are_on_s3_then_fetches_its_variant_there_and_serves_it(
    controller: Controller, new_agent: Callable[[], Agent], between: Between
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    x = samples(5)
    body = {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}
    answer = httpx.post(f"{device['facts']['inference_url']}/v2/models/linear/infer", json=body).json()
    np.testing.assert_allclose(np.array(answer["outputs"][0]["data"]).reshape(5, 3), x @ WEIGHTS, atol=1e-5)
    assert len(between.followed) == 2  # the model and its golden set
    assert [name for shown in between.followed for name in shown if name.lower().startswith("shoal")] == []
    assert "X-Amz-Signature" not in (agent.state / "log").read_text()


def test_data_set_when_imported_with_the_blobs_on_s3_then_is_there_and_can_be_fetched_by_a_link(
    controller: Controller,
) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones((20, 4)), y=np.arange(20) % 3)
    sha256 = controller.api.post("/artifacts", content=buffer.getvalue()).json()["sha256"]
    body = {"name": "held", "role": "calibration", "sha256": sha256, "format": "npz"}
    assert controller.api.post("/datasets", json=body).json()["code"] == "dataset.needs_import"
    job = controller.api.post("/dataset-imports", json=body)
    assert job.status_code == 202, job.text
    ended = wait_for(lambda: finished(controller, job.json()["id"]), 120)
    assert (ended["state"], ended["result"]["samples"]) == ("succeeded", 20), ended
    dataset = controller.get("/datasets/held")
    assert (dataset["source_sha256"], dataset["tensors"]["x"]) == (sha256, {"datatype": "FP32", "shape": [4]})
    link = controller.api.post(f"/artifacts/{dataset['sha256']}/url").json()["url"]
    answer = httpx.get(f"http://127.0.0.1:{controller.api_port}{link}")
    assert (answer.status_code, "X-Amz-Signature" in answer.headers["Location"]) == (307, True)
    assert httpx.get(answer.headers["Location"]).content == controller.blobs.read(dataset["sha256"])
    assert controller.api.delete("/datasets/held").status_code == 204
    assert controller.api.get("/datasets/held").status_code == 404


def finished(controller: Controller, job_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = controller.get(f"/jobs/{job_id}")
    return found if found["finished_at"] else None


def test_data_set_when_large_then_the_controller_never_holds_it(iotcore: BrokerAt) -> None:
    controller = Controller(iotcore, "")
    try:
        header = b'{"x":{"dtype":"F32","shape":[75000,1000],"data_offsets":[0,300000000]}}'
        header += b" " * (-len(header) % 8)
        controller.api.post("/artifacts", content=b"warm").raise_for_status()
        before = most_memory(controller)

        def file() -> Iterator[bytes]:
            yield len(header).to_bytes(8, "little") + header
            for _ in range(300):
                yield bytes(1_000_000)

        sha256 = controller.api.post("/artifacts", content=file(), timeout=120).json()["sha256"]
        body = {"name": "large", "role": "calibration", "sha256": sha256}
        answer = controller.api.post("/datasets", json=body, timeout=120)
        assert (answer.status_code, answer.json()["samples"]) == (201, 75_000)
        assert most_memory(controller) - before < _LARGE // 3
    finally:
        controller.close()


def most_memory(controller: Controller) -> int:
    """Give the most bytes that the process ever had resident."""
    status = Path(f"/proc/{controller.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) * 1024
