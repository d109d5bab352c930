"""Which variant a device gets, and what is said of the others."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.profiles.estimate import Estimate
from controller.profiles.resolver import EQUAL_WITHIN, Hardware, Limits, Measured, VariantFigures, resolve

ORT = frozenset({"onnxruntime"})
BOTH = frozenset({"onnxruntime", "openvino"})


def figures(name: str, runtime: str, size_bytes: int, accuracy: float, latency_p50_ms: float = 1.0) -> VariantFigures:
    return VariantFigures(
        id=name,
        recipe=name,
        runtime=runtime,
        size_bytes=size_bytes,
        accuracy=accuracy,
        latency_p50_ms=latency_p50_ms,
    )


FP32 = figures("fp32", "onnxruntime", 1200, 0.96)
INT8 = figures("int8", "onnxruntime", 320, 0.955)
INT8_OPENVINO = figures("int8-openvino", "openvino", 320, 0.955, 0.5)
ALL = [FP32, INT8, INT8_OPENVINO]


def measured(**latencies: float) -> dict[str, Measured]:
    return {name.replace("_", "-"): Measured(passed=True, latency_p50_ms=ms) for name, ms in latencies.items()}


def guess(likely_ms: float, most_ms: float) -> Estimate:
    return Estimate(least_ms=likely_ms / 2, likely_ms=likely_ms, most_ms=most_ms, hardware="Pi 4")


def codes(hardware: Hardware, limits: Limits | None = None) -> Mapping[str, str]:
    return {one.variant.id: one.code for one in resolve(ALL, hardware, limits or Limits()).candidates}


def test_resolve_when_nothing_was_measured_and_two_are_equally_small_then_is_the_faster_in_the_cloud() -> None:
    assert resolve(ALL, Hardware(runtimes=BOTH), Limits()).chosen == INT8_OPENVINO


def test_resolve_when_device_offers_one_runtime_then_is_of_that() -> None:
    found = resolve(ALL, Hardware(runtimes=ORT), Limits())
    assert found.chosen == INT8
    assert codes(Hardware(runtimes=ORT)) == {"int8": "chosen", "fp32": "worse", "int8-openvino": "runtime.missing"}


def test_resolve_when_small_one_lost_too_much_then_is_the_large() -> None:
    candidates = [FP32, figures("bad", "onnxruntime", 10, 0.5)]
    assert resolve(candidates, Hardware(runtimes=ORT), Limits()).chosen == FP32


def test_resolve_when_only_a_bad_one_runs_there_then_is_none() -> None:
    openvino = Hardware(runtimes=frozenset({"openvino"}))
    assert resolve([FP32, figures("bad", "openvino", 10, 0.5)], openvino, Limits()).chosen is None
    assert resolve([], Hardware(runtimes=ORT), Limits()).chosen is None


def test_resolve_when_the_larger_was_measured_faster_then_is_the_larger() -> None:
    hardware = Hardware(runtimes=BOTH, measured=measured(fp32=2.0, int8=5.0, int8_openvino=6.0))
    found = resolve(ALL, hardware, Limits())
    assert [one.variant.id for one in found.candidates] == ["fp32", "int8", "int8-openvino"]
    assert (found.candidates[0].latency_ms, found.candidates[0].source) == (2.0, "profile")
    assert found.candidates[1].reason == "It takes 5 ms, the chosen one 2 ms."


def test_resolve_when_latencies_are_within_a_tenth_then_is_the_smaller() -> None:
    hardware = Hardware(runtimes=ORT, measured=measured(fp32=5.0, int8=5.4))
    assert resolve(ALL, hardware, Limits()).chosen == INT8


def test_resolve_when_one_was_measured_then_goes_before_what_nobody_knows() -> None:
    assert resolve(ALL, Hardware(runtimes=BOTH, measured=measured(fp32=50.0)), Limits()).chosen == FP32


def test_resolve_when_an_estimate_is_sure_to_be_faster_then_it_wins_and_else_not() -> None:
    profiles = measured(fp32=5.0)
    sure = Hardware(runtimes=ORT, measured=profiles, estimated={"int8": guess(2.0, 4.0)})
    unsure = Hardware(runtimes=ORT, measured=profiles, estimated={"int8": guess(4.0, 8.0)})
    assert resolve(ALL, sure, Limits()).chosen == INT8
    assert resolve(ALL, unsure, Limits()).chosen == FP32
    assert resolve(ALL, sure, Limits()).candidates[0].source == "estimate"


def test_resolve_when_a_golden_set_failed_on_the_hardware_then_is_never_offered_there() -> None:
    hardware = Hardware(runtimes=ORT, measured={"int8": Measured(passed=False, latency_p50_ms=0.1)})
    assert codes(hardware) == {"fp32": "chosen", "int8": "golden.failed", "int8-openvino": "runtime.missing"}


@pytest.mark.parametrize(
    ("limits", "hardware", "code"),
    [
        (Limits(max_accuracy_drop=0.001), Hardware(runtimes=ORT), "accuracy.over_budget"),
        (Limits(max_size_bytes=300), Hardware(runtimes=ORT), "size.over_budget"),
        (Limits(max_latency_ms=1.0), Hardware(runtimes=ORT, measured=measured(int8=2.0)), "latency.over_budget"),
        (Limits(), Hardware(runtimes=ORT, memory_bytes=399), "memory.too_little"),
    ],
)
def test_resolve_when_one_costs_too_much_then_is_out_by_name(limits: Limits, hardware: Hardware, code: str) -> None:
    assert codes(hardware, limits)["int8"] == code


def test_resolve_when_memory_was_measured_then_counts_instead_of_the_file() -> None:
    needs = {"int8": Measured(passed=True, latency_p50_ms=1, peak_memory_bytes=5000)}
    hardware = Hardware(runtimes=ORT, memory_bytes=2000, measured=needs)
    assert codes(hardware)["int8"] == "memory.too_little"


LATENCY = st.floats(0.01, 1000)
VARIANTS = st.lists(
    st.builds(
        figures,
        st.uuids().map(str),
        st.sampled_from(["onnxruntime", "openvino"]),
        st.integers(1, 10**9),
        st.floats(0, 1),
        LATENCY,
    ),
    max_size=8,
)


@given(VARIANTS, st.data())
def test_resolve_when_anything_is_given_then_the_chosen_one_fits_and_nothing_fitting_is_clearly_faster(
    variants: list[VariantFigures], data: st.DataObject
) -> None:
    known = {
        one.id: Measured(passed=data.draw(st.booleans()), latency_p50_ms=data.draw(LATENCY))
        for one in variants
        if data.draw(st.booleans())
    }
    found = resolve(variants, Hardware(runtimes=ORT, measured=known), Limits(max_accuracy_drop=0.1))
    assert sorted(one.variant.id for one in found.candidates) == sorted(one.id for one in variants)
    fitting = [one for one in found.candidates if one.code in ("chosen", "worse")]
    assert [one.variant for one in fitting if one.code == "chosen"] == ([] if found.chosen is None else [found.chosen])
    assert (found.chosen is None) == (not fitting)
    assert all(one.variant.runtime == "onnxruntime" and one.variant.id not in _failed(known) for one in fitting)
    times = [one.latency_ms for one in fitting if one.latency_ms is not None]
    assert not times or (fitting[0].latency_ms or 0) <= min(times) * EQUAL_WITHIN * (1 + 1e-9)


def _failed(known: Mapping[str, Measured]) -> set[str]:
    return {variant_id for variant_id, one in known.items() if not one.passed}
