"""The agent's processes are small because of what they do not import."""

import subprocess
import sys

HEAVY = {
    *("ai_edge_litert", "executorch", "httpx", "numpy", "onnxruntime"),
    *("openvino", "pydantic", "safetensors", "starlette", "torch", "uvicorn"),
}


def imported(*modules: str) -> set[str]:
    program = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_agent_when_it_idles_then_has_imported_nothing_heavy() -> None:
    # Whatever an agent needs to enrol, to connect and to take an offer is imported by its composition root.
    found = imported("agent.__main__", "agent.app")
    assert "paho" in found
    assert found & HEAVY == set()


def test_serving_when_started_then_has_not_imported_what_only_training_needs() -> None:
    found = imported("agent.serving")
    assert {"numpy", "starlette"} <= found
    assert "torch" not in found


def test_training_when_started_then_has_not_imported_torch_which_only_training_itself_needs() -> None:
    assert "torch" not in imported("agent.training")
