"""Which boards would serve, and how sure that is."""

from dataclasses import replace

import pytest

from controller.profiles.advisor import LEAST_SHARE, MOST_SHARE, Advised, Offer, Target, Verdict, advise, latency_on
from controller.profiles.boards import BoardSpec, Figure

SAID = "a data sheet"
PI = BoardSpec(
    name="pi",
    title="Pi",
    facts=["Raspberry Pi 5 Model B"],
    runtimes=["onnxruntime", "litert"],
    connectivity=["wifi", "ethernet"],
    figures={
        "memory_bytes": Figure(value=2**30, most=2**33, unit="bytes", source=SAID),
        "fp32_flops": Figure(value=50e9, most=100e9, unit="operations/s", source=SAID),
        "load_w": Figure(value=4, most=25, unit="W", source=SAID),
        "temperature_max_c": Figure(value=50, unit="celsius", source=SAID),
    },
)
CORAL = BoardSpec(
    name="coral",
    title="Coral",
    runtimes=["litert"],
    connectivity=["usb"],
    figures={"int8_ops_per_s": Figure(value=4e12, unit="operations/s", source=SAID, needs="accelerator")},
)
MICRO = BoardSpec(name="micro", title="Microcontroller")
WORDS = "Raspberry Pi 5 Model B, Cortex-A76, 4 cores, 8 GiB"
OFFER = Offer(variant_id="v", runtime="litert", size_bytes=4_000_000, accuracy=0.9, is_int8=True, macs=400e6)


def one(board: BoardSpec, target: Target, *offers: Offer) -> Advised:
    (found,) = advise([board], offers or (OFFER,), target)
    return found


def test_latency_when_by_specification_then_spans_the_share_that_networks_reach() -> None:
    found = latency_on(PI, replace(OFFER, is_int8=False))
    assert found is not None
    assert found.least_ms == pytest.approx(2 * 400e6 / (100e9 * MOST_SHARE) * 1e3)
    assert found.most_ms == pytest.approx(2 * 400e6 / (50e9 * LEAST_SHARE) * 1e3)
    assert found.source == "specification"
    assert SAID in found.said
    assert "1704.04760" in found.said


def test_latency_when_int8_has_no_figure_then_may_be_four_times_as_fast_as_float_or_no_faster() -> None:
    int8, fp32 = latency_on(PI, OFFER), latency_on(PI, replace(OFFER, is_int8=False))
    assert int8 is not None
    assert fp32 is not None
    assert (int8.least_ms * 4, int8.most_ms) == pytest.approx((fp32.least_ms, fp32.most_ms))


def test_latency_when_weights_take_longer_than_arithmetic_then_memory_bounds_it() -> None:
    slow = {**PI.figures, "memory_bandwidth": Figure(value=1e6, unit="bytes/s", source=SAID)}
    board = BoardSpec(name="b", title="B", runtimes=["litert"], figures=slow)
    found = latency_on(board, OFFER)
    assert found is not None
    assert found.least_ms == pytest.approx(4000)


def test_board_when_it_was_measured_then_the_measurement_decides() -> None:
    offer = replace(OFFER, measured={WORDS: (8.0, 9.5)})
    assert one(PI, Target(max_latency_ms=10), offer).verdict is Verdict.SERVES
    assert one(PI, Target(max_latency_ms=9), offer).verdict is Verdict.MAY_SERVE
    found = one(PI, Target(max_latency_ms=7), offer)
    assert found.verdict is Verdict.DOES_NOT_SERVE
    assert found.latency is not None
    assert found.latency.source == "profile"


@pytest.mark.parametrize(
    ("limit_ms", "verdict"), [(1, Verdict.DOES_NOT_SERVE), (10, Verdict.MAY_SERVE), (1000, Verdict.SERVES)]
)
def test_board_when_only_specified_then_is_judged_with_its_uncertainty(limit_ms: float, verdict: Verdict) -> None:
    assert one(PI, Target(max_latency_ms=limit_ms)).verdict is verdict


def test_board_when_its_speed_needs_an_accelerator_then_it_may_serve_at_best() -> None:
    found = one(CORAL, Target(max_latency_ms=1000))
    assert found.verdict is Verdict.MAY_SERVE
    assert "accelerator" in found.reasons[0]


def test_board_when_nothing_says_how_fast_it_is_then_is_unknown() -> None:
    found = one(PI, Target(max_latency_ms=10), replace(OFFER, macs=None))
    assert (found.verdict, found.latency) == (Verdict.UNKNOWN, None)


def test_board_when_the_agent_does_not_run_there_then_does_not_serve() -> None:
    assert one(MICRO, Target()).verdict is Verdict.DOES_NOT_SERVE


def test_board_when_no_variant_is_for_it_then_is_unknown_and_says_why() -> None:
    found = one(CORAL, Target(), replace(OFFER, runtime="onnxruntime"))
    assert found.verdict is Verdict.UNKNOWN
    assert "litert" in found.reasons[-1]


def test_board_when_the_golden_set_failed_there_then_that_variant_is_not_taken() -> None:
    failing = replace(OFFER, failed=frozenset({WORDS}))
    other = replace(OFFER, variant_id="w", runtime="onnxruntime")
    assert one(PI, Target(), failing, other).variant_id == "w"


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target(max_power_w=3), Verdict.DOES_NOT_SERVE),
        (Target(max_power_w=10), Verdict.MAY_SERVE),
        (Target(max_power_w=30), Verdict.SERVES),
        (Target(temperature_max_c=60), Verdict.DOES_NOT_SERVE),
        (Target(temperature_max_c=45), Verdict.SERVES),
        (Target(temperature_min_c=0), Verdict.MAY_SERVE),
        (Target(connectivity=frozenset({"can"})), Verdict.DOES_NOT_SERVE),
        (Target(connectivity=frozenset({"wifi"})), Verdict.SERVES),
    ],
)
def test_board_when_something_else_is_asked_for_then_is_judged_by_it(target: Target, verdict: Verdict) -> None:
    assert one(PI, target).verdict is verdict


def test_boards_when_judged_then_those_that_serve_come_first() -> None:
    found = advise([MICRO, CORAL, PI], [OFFER], Target(max_latency_ms=1000))
    assert [one.board.name for one in found] == ["pi", "coral", "micro"]
