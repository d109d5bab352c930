"""Which variant fits a device."""

from controller.artifacts.variants import VariantFigures, choose_variant


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


def test_choose_variant_when_two_are_equally_small_then_is_the_faster() -> None:
    assert choose_variant([FP32, INT8, INT8_OPENVINO], {"onnxruntime", "openvino"}, 0.02) == INT8_OPENVINO


def test_choose_variant_when_device_offers_one_runtime_then_is_of_that() -> None:
    assert choose_variant([FP32, INT8, INT8_OPENVINO], {"onnxruntime"}, 0.02) == INT8


def test_choose_variant_when_small_one_lost_too_much_then_is_the_large() -> None:
    assert choose_variant([FP32, figures("bad", "onnxruntime", 10, 0.5)], {"onnxruntime"}, 0.02) == FP32


def test_choose_variant_when_only_a_bad_one_runs_there_then_is_none() -> None:
    assert choose_variant([FP32, figures("bad", "openvino", 10, 0.5)], {"openvino"}, 0.02) is None
    assert choose_variant([], {"onnxruntime"}, 0.02) is None
