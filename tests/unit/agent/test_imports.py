"""An idle agent is small because of what it does not import."""

import subprocess
import sys

HEAVY = {"httpx", "numpy", "onnxruntime", "openvino", "pydantic", "safetensors", "starlette", "torch", "uvicorn"}


def test_agent_when_it_idles_then_has_imported_nothing_heavy() -> None:
    # Whatever an agent needs to enrol, to connect and to take an offer is imported by its composition root.
    program = "import sys, agent.__main__, agent.app; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "paho" in imported
    assert imported & HEAVY == set()
