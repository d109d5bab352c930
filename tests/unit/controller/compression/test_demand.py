"""What a fleet needs, what exists, and what is missing."""

from typing import Any

from controller.compression.demand import Devices, Present, Wanted, Workshop, demand

PROGRAM = Workshop(source="program")


def devices(*runtimes: str, hardware: str = "Pi", count: int = 2, **others: Any) -> Devices:
    return Devices(hardware=hardware, count=count, runtimes=frozenset(runtimes), **others)


def shown(needs: list[Wanted]) -> list[tuple[str, str, str, int]]:
    return [(need.recipe, need.runtime, need.state, need.devices) for need in needs]


def test_demand_when_nothing_exists_then_int8_is_missing_for_each_kind_of_device_once() -> None:
    fleet = [devices("litert"), devices("onnxruntime", "litert", hardware="NUC", count=3), devices("litert", count=5)]
    needs, without = demand(fleet, PROGRAM)
    assert shown(needs) == [("int8", "litert", "missing", 7), ("int8", "onnxruntime", "missing", 3)]
    assert (needs[0].hardware, without) == (["Pi"], 0)


def test_demand_when_int8_was_refused_then_the_next_precision_is_needed() -> None:
    workshop = Workshop(source="program", tried={("int8", "litert"): "3 points below"})
    needs, without = demand([devices("litert")], workshop)
    assert shown(needs) == [("fp16", "litert", "missing", 2), ("int8", "litert", "refused", 2)]
    assert (needs[1].reason, without) == ("3 points below", 0)


def test_demand_when_a_job_is_at_it_then_it_is_building() -> None:
    needs, _ = demand([devices("litert")], Workshop(source="program", building={("int8", "litert"): "j"}))
    assert [(need.state, need.job_id) for need in needs] == [("building", "j")]


def test_demand_when_one_exists_that_fits_then_it_is_present() -> None:
    pair = ("int8", "litert")
    fleet = [devices("litert", present={pair: Present(variant_id="v", fits=True)}, chosen=pair)]
    needs, _ = demand(fleet, PROGRAM)
    assert [(need.state, need.variant_id) for need in needs] == [("present", "v")]


def test_demand_when_only_float_exists_then_int8_is_missing() -> None:
    pair = ("fp32", "onnxruntime")
    fleet = [devices("onnxruntime", present={pair: Present(variant_id="v", fits=True)}, chosen=pair)]
    assert shown(demand(fleet, PROGRAM)[0]) == [("int8", "onnxruntime", "missing", 2)]


def test_demand_when_its_golden_set_fails_on_one_kind_then_only_that_needs_another() -> None:
    pair = ("int8", "onnxruntime")
    good = devices("onnxruntime", present={pair: Present(variant_id="v", fits=True)}, chosen=pair)
    bad = devices(
        "onnxruntime", hardware="NUC", present={pair: Present(variant_id="v", fits=False, reason="golden")}, count=1
    )
    needs, _ = demand([bad, good], PROGRAM)
    assert shown(needs) == [("int8", "onnxruntime", "present", 3), ("fp16", "onnxruntime", "missing", 1)]


def test_demand_when_the_toolchain_is_missing_then_says_so_and_asks_for_what_can_be_made() -> None:
    needs, without = demand([devices("litert", "torchscript")], Workshop(source="program", has_toolchain=False))
    assert shown(needs) == [("int8", "litert", "toolchain_missing", 2), ("int8", "torchscript", "missing", 2)]
    assert "shoal toolchain install" in needs[0].reason
    assert without == 0
    assert demand([devices("litert")], Workshop(source="program", has_toolchain=False))[1] == 2


def test_demand_when_a_ready_made_file_runs_then_it_is_present_and_nothing_is_made() -> None:
    pair = ("as-is", "executorch")
    workshop = Workshop(source="pte")
    there = devices("executorch", present={pair: Present(variant_id="v", fits=True)}, chosen=pair)
    needs, without = demand([there, devices("litert", hardware="NUC", count=1)], workshop)
    assert shown(needs) == [("as-is", "executorch", "present", 2)]
    assert without == 1


def test_demand_when_a_searched_variant_was_chosen_then_it_is_what_is_needed() -> None:
    pair = ("pruned-int8", "litert")
    fleet = [devices("litert", present={pair: Present(variant_id="v", fits=True)}, chosen=pair)]
    assert shown(demand(fleet, PROGRAM)[0]) == [("pruned-int8", "litert", "present", 2)]


def test_demand_when_devices_offer_nothing_then_they_are_counted() -> None:
    assert demand([devices()], PROGRAM) == ([], 2)
