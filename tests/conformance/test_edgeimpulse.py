"""The back end for Edge Impulse: what an executable may do to it, and that our executable speaks the real protocol."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.runtimes import edgeimpulse_runtime
from shoal.runtimes.edgeimpulse_runtime import MOST_BOXES, RUNTIME
from shoal.runtimes.model import BadModel
from shoal.runtimes.preprocessing import inputs_of
from shoal.wire.models import Resize
from tests.conftest import require
from tests.models import WEIGHTS, samples
from tests.runtime_files import LINEAR, eim

PICTURE = {"input_features_count": 6, "image_input_width": 3, "image_input_height": 2}


def write(folder: Path, **behaviour: Any) -> Path:
    path = folder / "model.eim"
    path.write_bytes(eim(**behaviour))
    return path


def test_executable_when_it_takes_pictures_then_gets_one_number_a_pixel(tmp_path: Path) -> None:
    for channels, pixel, wanted in ((3, [1, 2, 3], [1, 2, 3]), (1, [7], [7, 7, 7])):
        model = RUNTIME.open(write(tmp_path, parameters={**PICTURE, "image_channel_count": channels}))
        assert [(one.name, one.shape) for one in model.inputs] == [("image", [1, 2, 3, channels])]
        picture = np.full((1, 2, 3, channels), pixel, np.float32)
        assert model.infer({"image": picture})["classification"].tolist() == [wanted]
        model.close()


def test_picture_when_raw_then_is_prepared_for_the_executable(tmp_path: Path) -> None:
    model = RUNTIME.open(write(tmp_path, parameters={**PICTURE, "image_channel_count": 3}))
    raw = np.full((9, 7, 3), [10, 20, 30], np.uint8)
    inputs = inputs_of({"raw": raw}, model.inputs, [Resize(width=3, height=2)])
    assert model.infer(inputs)["classification"].tolist() == [[10, 20, 30]]
    model.close()


def test_executable_when_it_finds_boxes_then_they_have_corners_and_numbers(tmp_path: Path) -> None:
    model = RUNTIME.open(write(tmp_path, parameters={"model_type": "object_detection"}))
    outputs = model.infer({"features": samples(1)})
    assert {name: array.shape for name, array in outputs.items()} == {
        "boxes": (1, MOST_BOXES, 4),
        "scores": (1, MOST_BOXES),
        "labels": (1, MOST_BOXES),
    }
    assert outputs["boxes"][0, 0].tolist() == [1, 2, 4, 6]
    assert (outputs["scores"][0, 0], outputs["labels"][0, :2].tolist()) == (0.75, [1, -1])
    model.close()


def test_executable_when_it_has_an_anomaly_then_gives_it_beside_the_labels(tmp_path: Path) -> None:
    model = RUNTIME.open(write(tmp_path, parameters={"has_anomaly": 1}))
    x = samples(3)
    outputs = model.infer({"features": x[:1]})
    assert [one.name for one in model.outputs] == ["classification", "anomaly"]
    np.testing.assert_allclose(outputs["anomaly"], [[x[0].sum()]], rtol=1e-6)
    model.close()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ({"parameters": {"model_type": "freeform"}}, "model.not_supported"),
        ({"parameters": {"input_features_count": 0}}, "model.not_loadable"),
        ({"parameters": {"labels": 7}}, "model.not_loadable"),
    ],
)
def test_executable_when_it_describes_what_cannot_be_then_is_refused_by_name(
    tmp_path: Path, behaviour: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadModel) as caught:
        RUNTIME.open(write(tmp_path, **behaviour))
    assert caught.value.code == code


def test_executable_when_answers_of_older_requests_come_first_then_they_are_passed_over(tmp_path: Path) -> None:
    model = RUNTIME.open(write(tmp_path, stale_answers=True), signature=LINEAR)
    x = samples(4)
    np.testing.assert_allclose(model.infer({"input": x})["output"], x @ WEIGHTS, atol=1e-5)
    model.close()


def test_executable_when_it_never_listens_then_is_ended_by_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgeimpulse_runtime, "_START_S", 0.5)
    with pytest.raises(BadModel, match="in time"):
        RUNTIME.open(write(tmp_path, never_listens=True))


def test_executable_when_it_hangs_then_the_request_ends_and_the_next_one_starts_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgeimpulse_runtime, "_RUN_S", 0.5)
    model = RUNTIME.open(write(tmp_path, hang_at=2), signature=LINEAR)
    model.infer({"input": samples(1)})
    with pytest.raises(BadModel) as caught:
        model.infer({"input": samples(1)})
    assert caught.value.code == "runtime.hung"
    assert model.infer({"input": samples(1)})["output"].shape == (1, 3)
    model.close()


# ---------------------------------------------------------------- the official client

_SDK = "edge_impulse_linux==1.2.2"


@pytest.fixture(scope="session")
def edge_impulse_runner() -> Path:
    """The official SDK's `runner.py` alone, which needs NumPy only; kept in the user's cache."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "shoal/edge-impulse"
    found = list(folder.glob("*.tar.gz"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _SDK]
        subprocess.run(command, capture_output=True, check=False)
        found = list(folder.glob("*.tar.gz"))
    package = Path(require(str(found[0]) if found else None, "Edge Impulse's SDK", f"pip download {_SDK}"))
    with tarfile.open(package) as archive:
        member = next(one for one in archive.getmembers() if one.name.endswith("edge_impulse_linux/runner.py"))
        source = archive.extractfile(member)
        assert source is not None
        (folder / "runner.py").write_bytes(source.read())
    return folder / "runner.py"


_ASK = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("runner", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
runner = module.ImpulseRunner(sys.argv[2], allow_shm=sys.argv[3] == "shared")
about = runner.init()
answers = [runner.classify(features) for features in json.loads(sys.argv[4])]
runner.stop()
print(json.dumps([about["model_parameters"]["labels"], [one["result"]["classification"] for one in answers]]))
"""


@pytest.mark.parametrize("way", ["json", "shared"])
def test_our_executable_when_asked_by_the_official_client_then_is_understood(
    tmp_path: Path, edge_impulse_runner: Path, way: str
) -> None:
    """The labels are plain here: the client takes a brace in one for the end of an answer."""
    path, x = write(tmp_path, shared=way == "shared", labels=["a", "b", "c"]), samples(3)
    path.chmod(0o755)
    command = [sys.executable, "-c", _ASK, edge_impulse_runner, path, way, json.dumps(x.tolist())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told, answers = json.loads(done.stdout)
    assert told == ["a", "b", "c"]
    np.testing.assert_allclose([list(one.values()) for one in answers], x @ WEIGHTS, atol=1e-5)
