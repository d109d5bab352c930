"""What a virtual machine would measure of a variant: from its board, and a little apart by its seed. Pure.

Nothing is run: a file's size stands for its parameters, each used some tens of times as convolutions do, and a runtime
has an overhead a call. So int8 is faster than float, a Pi 5 than a Pi 4, and the same question has the same answer.
"""

from typing import Final

from agent.simulator.population import Machine, chance
from shoal.wire.profiles import ProfileResult, ProfileSpec
from shoal.wire.rollouts import GoldenResult

_GOLDEN_SAMPLES: Final = 32
_USES: Final = 40.0  # multiply-accumulates a parameter
_CALL_MS: Final = 0.02
# Of the time that the quickest one takes; invented, but in the order of what real boards show.
_RUNTIMES: Final = {"litert": 0.9, "executorch": 0.95, "onnxruntime": 1.0, "openvino": 1.05, "torchscript": 2.2}
_OTHER_RUNTIME: Final = 3.0
_LOAD_BYTES_PER_S: Final = 80e6
_RUNTIME_BYTES: Final = 6 * 2**20


def measured_variant(machine: Machine, spec: ProfileSpec, *, passed: bool) -> ProfileResult:
    """Give what a machine measures.

    Args:
        passed: Whether its golden set comes out as it should.
    """
    variant, board = spec.variant, machine.board
    luck = chance(machine.seed, machine.number, f"profile/{variant.artifact.sha256}/{variant.runtime}")
    is_int8 = variant.recipe.startswith("int8")
    parameters = variant.artifact.size_bytes / (1 if is_int8 else 4)
    rate = board.fp32_macs_per_s * (board.int8_factor if is_int8 else 1.0)
    factor = _RUNTIMES.get(variant.runtime, _OTHER_RUNTIME)
    p50 = (parameters * _USES / rate * 1e3 * factor + _CALL_MS) * luck.lognormvariate(0, 0.03)
    p95 = p50 * luck.uniform(1.04, 1.25)
    celsius = machine.facts.temperatures_celsius.get("cpu")
    return ProfileResult(
        golden=GoldenResult(
            samples=_GOLDEN_SAMPLES,
            agreement=1.0 if passed else 0.625,
            max_abs_error=abs(luck.gauss(0, 2e-4 if passed else 3.0)),
            passed=passed,
        ),
        runtime_version=machine.facts.runtimes[variant.runtime],
        runs=spec.runs,
        threads=spec.threads or 1,
        latency_p50_ms=round(p50, 4),
        latency_p95_ms=round(p95, 4),
        latency_p99_ms=round(p95 * luck.uniform(1.02, 1.6), 4),
        load_s=round(0.05 + variant.artifact.size_bytes / _LOAD_BYTES_PER_S, 4),
        peak_memory_bytes=int(_RUNTIME_BYTES + 2.5 * variant.artifact.size_bytes),
        energy_j=round(board.watts[1] * p50 / 1e3, 9) if board.energy_counters else None,
        temperature_before_c=celsius,
        temperature_after_c=None if celsius is None else round(celsius + luck.uniform(0.5, 6), 1),
    )
