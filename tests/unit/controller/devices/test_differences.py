"""The difference between what a device shall be and what it reported."""

from controller.devices.differences import differences
from shoal.wire.devices import ArtifactRef
from shoal.wire.rollouts import Desired, DesiredVariant, Reported, SlotReport, SlotState

_BYTES = ArtifactRef(sha256="a" * 64, size_bytes=1)


def wanted(version: int, model: str = "digits") -> DesiredVariant:
    return DesiredVariant(
        model=model,
        version=version,
        variant_id=f"v{version}",
        recipe="int8",
        runtime="onnxruntime",
        artifact=_BYTES,
        golden=_BYTES,
    )


def held(version: int, state: SlotState, model: str = "digits", **said: str) -> SlotReport:
    return SlotReport(
        model=model,
        slot="a",
        state=state,
        version=version,
        variant_id=f"v{version}",
        runtime="onnxruntime",
        sha256="a" * 64,
        **said,
    )


def reported(version: int, *slots: SlotReport) -> Reported:
    return Reported(id="1-1", session=1, sequence=1, epoch=1, version=version, slots=list(slots))


def test_difference_when_the_device_serves_what_is_desired_then_there_is_none() -> None:
    desired = Desired(epoch=1, version=3, variants=[wanted(2)])
    told = reported(3, held(2, SlotState.SERVING), held(1, SlotState.STANDBY))
    assert differences(desired, told, "") == []


def test_difference_when_a_variant_failed_then_the_device_says_why_and_what_serves_is_named() -> None:
    desired = Desired(epoch=1, version=3, variants=[wanted(2)])
    broken = held(2, SlotState.FAILED, code="golden.failed", message="12 of 100 agree.")
    [found] = differences(desired, reported(3, held(1, SlotState.SERVING), broken), "")
    assert found.subject == "model digits"
    assert found.desired == "digits/2 int8 on onnxruntime (variant v2)"
    assert found.reported == "digits/1 on onnxruntime (variant v1)"
    assert found.because == "It failed: 12 of 100 agree. [golden.failed]"


def test_difference_when_the_device_is_away_then_everything_waits_for_it() -> None:
    desired = Desired(epoch=1, version=1, variants=[wanted(1)])
    found = differences(desired, None, "It is offline.")
    assert [(one.subject, one.reported, one.because) for one in found] == [
        ("document", None, "It is offline."),
        ("model digits", None, "It is offline."),
    ]


def test_difference_when_a_model_is_desired_no_more_then_it_is_left_over() -> None:
    [found] = differences(Desired(epoch=1, version=4), reported(4, held(1, SlotState.SERVING)), "")
    assert (found.desired, found.reported) == (None, "digits/1 on onnxruntime (variant v1)")


def test_difference_when_a_variant_is_under_way_then_its_step_is_named() -> None:
    desired = Desired(epoch=1, version=1, variants=[wanted(1)])
    [found] = differences(desired, reported(1, held(1, SlotState.DOWNLOADING)), "")
    assert found.because == "It is being downloaded."
