"""Long work in a sandbox tells how far it is, to whoever asks for that."""

from collections.abc import Iterator

import pytest

from controller.jobs.sandbox import Sandbox
from shoal.runtimes.process import ProcessError
from shoal.schemas.recipes import Quantize
from tests.nets import dataset_bytes, digits, digits_onnx

STEP = Quantize().model_dump()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    state = tmp_path_factory.mktemp("state")
    sandbox = Sandbox.start("controller.compression.workers.opener", state=state, allow_unisolated=True)
    yield sandbox
    sandbox.close()


def test_progress_when_asked_for_then_is_told_before_the_answer(sandbox: Sandbox) -> None:
    told: list[tuple[float, str]] = []
    model = sandbox.put("model.onnx", [digits_onnx()])
    calibration = sandbox.put("calibration", [dataset_bytes(digits().train.take(slice(0, 200)))])
    arguments = {"model": model, "calibration": calibration, "step": STEP}
    made = sandbox.ask("quantize", timeout_s=120, said=lambda share, text: told.append((share, text)), **arguments)
    assert len(made["model"]) < 0.3 * len(digits_onnx())
    shares = [share for share, _ in told]
    assert (shares == sorted(shares), "Calibrating" in told[-1][1]) == (True, True)
    assert sandbox.ask("quantize", timeout_s=120, **arguments)["model"] == made["model"]


def test_answer_when_it_is_a_refusal_then_is_one_with_progress_too(sandbox: Sandbox) -> None:
    with pytest.raises(ProcessError) as caught:
        sandbox.ask("quantize", timeout_s=120, said=lambda *_: None, model=digits_onnx(), step=STEP)
    assert caught.value.code == "calibration.missing"
