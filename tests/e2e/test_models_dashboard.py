"""Models in the browser: upload, compress, watch the job; figures, lineage, demand, explanations, boards.

No job runs here (there is no processor for any): what one would say and make is put into its rows.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from controller.db import utc_now
from controller.jobs.tables import JobLineRow, JobRow, TrialRow
from controller.keys import Keys
from shoal.cli.embedded_broker import embedded_broker
from shoal.client import Client
from shoal.schemas.artifacts import DatasetRequest
from shoal.wire.tensors import encode_tensors
from tests.e2e.browser import log_in
from tests.e2e.voyage import Controller
from tests.models import WEIGHTS, linear_onnx, samples
from tests.profiling import PI4, PI5, add_machine
from tests.registry import let_pass
from tests.rig import BrokerAt, free_port

LAYERS = [
    {"layer": "head", "kind": "MatMul", "drop": 0.031, "noise": 0.2, "weight_bytes": 4096},
    {"layer": "stem", "kind": "Conv", "drop": 0.002, "noise": 0.01, "weight_bytes": 1024},
]
FIGURES = {"size_bytes": 2048, "accuracy": 0.97, "agreement": 0.99, "latency_p50_ms": 0.05, "latency_p95_ms": 0.07}


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One for all: a version with a variant, two devices, data sets of each role that a build needs."""
    state, port = tmp_path_factory.mktemp("state"), free_port()
    with embedded_broker(state, port=port, password="secret"):
        broker = BrokerAt(f"mqtt://shoal:secret@127.0.0.1:{port}", Keys.open(state), state, False)
        controller = Controller(broker, "", {"SHOAL_RAY_CPUS": "0"})
        controller.new_version()
        with controller.database.transaction() as session:
            add_machine(session, f"d-{'a' * 16}", PI4, online=False)
            add_machine(session, f"d-{'b' * 16}", PI5, online=False)
        with client_of(controller) as client:
            x = samples(96)
            heldout = client.artifacts.create(encode_tensors({"x": x, "y": (x @ WEIGHTS).argmax(1)})).sha256
            for role in ("calibration", "evaluation", "golden"):
                client.datasets.create(DatasetRequest(name=f"linear-{role}", role=role, sha256=heldout))
        yield controller
        controller.close()


def client_of(controller: Controller) -> Client:
    token = controller.api.headers["Authorization"].removeprefix("Bearer ")
    return Client(f"http://127.0.0.1:{controller.api_port}", token)


def add_progress(controller: Controller, job_id: str) -> None:
    """What a compression says and has tried after a while."""
    with controller.database.transaction() as session:
        job = session.get_one(JobRow, job_id)
        job.state, job.progress, job.remaining_s = "running", 0.4, 95.0
        job.started_at, job.message = utc_now(), "Trying int8."
        lines = (("info", "Exported."), ("warning", "The range of head is wide."))
        for number, (level, text) in enumerate(lines, 1):
            session.add(JobLineRow(job_id=job_id, number=number, at=utc_now(), level=level, text=text))
        for recipe, state, figures in (
            ("fp32", "succeeded", {**FIGURES, "size_bytes": 8192}),
            ("int8", "succeeded", {**FIGURES, "sensitivity": LAYERS}),
            ("prune50", "stopped", {}),
        ):
            trial = TrialRow(job_id=job_id, key=recipe, recipe=recipe, steps=[], runtime="onnxruntime")
            trial.state, trial.code, trial.message, trial.figures = state, "", "", figures
            trial.artifacts, trial.variant_id, trial.created_at = {}, None, utc_now()
            session.add(trial)


def test_model_when_registered_and_uploaded_then_is_examined_and_a_bad_data_set_is_refused_in_words(
    controller: Controller, dashboard_url: str, page: Page, tmp_path: Path
) -> None:
    log_in(page, dashboard_url, controller, "/models")
    page.get_by_test_id("new-model").click()
    form = page.get_by_test_id("model-form")
    form.get_by_label("Name").fill("Not A Name")
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("refusal")).to_contain_text("Name:")
    form.get_by_label("Name").fill("by-hand")
    form.get_by_label("Licence").fill("Apache-2.0")
    form.get_by_label("Class labels, one a line").fill("a\nb\nc")
    form.get_by_test_id("submit").click()
    page.wait_for_url(f"{dashboard_url}/models/by-hand?upload=1")
    expect(page.get_by_test_id("signature")).to_contain_text("Apache-2.0")

    form = page.get_by_test_id("version-form")
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("refusal")).to_have_text("Model file: choose a file, and wait until it is stored.")
    file = tmp_path / "linear.onnx"
    file.write_bytes(linear_onnx(padding_bytes=300_000))
    form.get_by_label("Model file").set_input_files(file)
    expect(form.get_by_test_id("model-file")).to_contain_text("linear.onnx, 293 KiB, is stored.")
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("version-status")).to_have_text("by-hand/1 is registered and being examined.")
    with client_of(controller) as client:
        (version,) = client.models.list_versions("by-hand").items
    let_pass(controller.database, version)
    expect(form).to_be_hidden()
    expect(page.get_by_test_id("version-table")).to_contain_text("ready")
    expect(page.get_by_test_id("signature")).to_contain_text("input: any × 4, FP32")

    page.goto(f"{dashboard_url}/datasets")
    page.get_by_test_id("new-dataset").click()
    form = page.get_by_test_id("dataset-form")
    form.get_by_label("Name").fill("mine")
    bad, good = tmp_path / "bad.safetensors", tmp_path / "good.safetensors"
    bad.write_bytes(b"no tensors")
    good.write_bytes(encode_tensors({"x": samples(8), "y": np.zeros(8, np.int64)}))
    for path, ended in ((bad, form.get_by_test_id("refusal")), (good, page.get_by_text("mine has 8 samples."))):
        form.get_by_label("File").set_input_files(path)
        expect(form.get_by_test_id("dataset-file")).to_contain_text("is stored.")
        form.get_by_test_id("submit").click()
        expect(ended).not_to_be_empty()
    expect(page.get_by_test_id("dataset-table")).to_contain_text("mine")


def test_compression_when_started_then_its_job_is_watched_live_and_cancelled(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller, "/models/linear")
    page.get_by_test_id("compress").click()
    form = page.get_by_test_id("compress-form")
    form.get_by_role("button", name="Search for the best").click()
    expect(form.get_by_test_id("recipe-int8")).to_be_hidden()
    expect(form.get_by_test_id("budget-drop")).to_be_visible()
    form.get_by_role("button", name="By recipes").click()
    form.get_by_test_id("runtime-onnxruntime").click()
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("refusal")).to_have_text("Choose at least one runtime.")
    form.get_by_test_id("runtime-onnxruntime").click()
    form.get_by_test_id("submit").click()
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.get_by_test_id("job-state")).to_have_text("queued")
    expect(page.get_by_test_id("progress-words")).to_have_text("It waits for its turn.")

    add_progress(controller, page.url.rpartition("/")[2])
    expect(page.get_by_test_id("job-state")).to_have_text("running")
    expect(page.get_by_test_id("progress-words")).to_contain_text("about 1 min left. Trying int8.")
    log = page.get_by_role("log")
    expect(log).to_contain_text("Exported.")
    log.scroll_into_view_if_needed()
    expect(log.get_by_text("WARNING The range of head is wide.")).to_be_in_viewport(ratio=1)
    trials = page.get_by_test_id("trial-table").locator("tbody tr")
    expect(trials).to_have_count(2)
    expect(trials.filter(has_text="int8")).to_contain_text("on it")
    page.get_by_test_id("with-stopped").click()
    expect(trials.filter(has_text="prune50")).to_contain_text("stopped")
    expect(page.get_by_test_id("trial-chart").locator("svg")).to_be_visible()
    expect(page.get_by_test_id("sensitivity-chart")).to_contain_text("head")
    page.get_by_test_id("cancel-job").click()
    page.get_by_test_id("yes").click()
    expect(page.get_by_test_id("job-state")).to_have_text("canceled")
    expect(page.get_by_test_id("cancel-job")).to_be_hidden()


def test_fleet_when_it_lacks_a_variant_then_is_told_and_one_click_builds_it(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller, "/models/linear")
    row = page.get_by_test_id("variant-table").locator("tbody tr")
    expect(row).to_contain_text("fp32")
    expect(row).to_contain_text("on it")
    expect(page.get_by_test_id("size-chart").locator("svg")).to_be_visible()

    page.get_by_role("link", name="Lineage").click()
    expect(page.get_by_test_id("lineage-chart")).to_contain_text("version 1")
    expect(page.get_by_test_id("lineage-table")).to_contain_text("version 1 (parent)")

    page.get_by_role("link", name="Boards").click()
    page.get_by_test_id("advice-latency").fill("20")
    page.get_by_test_id("judge").click()
    expect(page.get_by_test_id("advice-table")).to_contain_text("Raspberry Pi 5")
    page.get_by_text("Raspberry Pi 5", exact=True).last.click()
    expect(page.get_by_test_id("catalogue")).to_contain_text("Memory bandwidth")

    page.get_by_role("navigation", name="Pages of linear").get_by_role("link", name="Fleet").click()
    needs = page.get_by_test_id("demand-table").locator("tbody tr")
    expect(needs.filter(has_text="int8")).to_contain_text("missing")
    expect(page.get_by_test_id("demand-words")).to_contain_text("2 devices")
    page.get_by_test_id("set-policy").click()
    form = page.get_by_test_id("build-form")
    form.get_by_test_id("submit").click()
    expect(page.get_by_test_id("policy")).to_contain_text("linear-calibration")
    page.get_by_test_id("build-missing").click()
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.get_by_test_id("job-state")).to_have_text("queued")

    page.goto(f"{dashboard_url}/devices/d-{'b' * 16}")
    page.get_by_test_id("explain").click()
    expect(page.get_by_label("Model")).not_to_have_value("")
    page.get_by_label("Model").click()
    page.get_by_role("option", name="linear").click()
    expect(page.get_by_label("Version")).to_have_value(re.compile("1: uploaded"))
    expect(page.get_by_label("Device", exact=True)).to_have_value(re.compile("d-b"))
    page.get_by_test_id("submit-explain").click()
    candidates = page.get_by_test_id("candidate-table").locator("tbody tr")
    expect(candidates).to_contain_text("chosen")
    expect(page.get_by_test_id("explanation")).to_contain_text("Raspberry Pi 5")
