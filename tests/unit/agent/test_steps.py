"""What a device does next."""

import pytest

from agent.journal import HeldSlot
from agent.steps import Held, Step, StepKind, next_step
from shoal.wire.devices import ArtifactRef
from shoal.wire.incremental import DriftMonitor
from shoal.wire.rollouts import Desired, DesiredVariant, SlotState

REF = ArtifactRef(sha256="0" * 64, size_bytes=1)


def variant(name: str = "v1", execution: str = "e1", model: str = "digits") -> DesiredVariant:
    return DesiredVariant(
        model=model,
        version=1,
        variant_id=name,
        recipe="int8",
        runtime="onnxruntime",
        artifact=REF,
        golden=REF,
        execution_id=execution,
    )


def slot(state: SlotState, held: DesiredVariant, name: str = "a") -> HeldSlot:
    return HeldSlot(slot=name, state=state, variant=held)


def step(
    wanted: list[DesiredVariant],
    slots: list[HeldSlot],
    proven: dict[str, tuple[str, int]] | None = None,
    *,
    monitors: tuple[list[DriftMonitor], list[DriftMonitor]] = ([], []),
    reported: tuple[int, int] = (1, 1),
) -> Step | None:
    desired = Desired(epoch=1, version=1, variants=wanted, monitors=monitors[0])
    return next_step(desired, Held(slots=slots, proven=proven or {}, monitors=monitors[1], reported=reported))


SERVING = slot(SlotState.SERVING, variant())


@pytest.mark.parametrize(
    ("slots", "proven", "kind"),
    [
        ([], {}, StepKind.INSTALL),
        ([SERVING], {}, StepKind.PROVE),  # a new process has to load it again
        ([slot(SlotState.SERVING, variant("v0", "e0"))], {"digits": ("e0", 1)}, StepKind.INSTALL),
        ([slot(SlotState.DOWNLOADING, variant())], {}, StepKind.INSTALL),  # the power went in mid-download
        ([SERVING, slot(SlotState.SERVING, variant("w", model="other"), "a")], {"digits": ("e1", 1)}, StepKind.REMOVE),
    ],
)
def test_step_when_something_differs_then_is_the_next_to_do(
    slots: list[HeldSlot], proven: dict[str, tuple[str, int]], kind: StepKind
) -> None:
    found = step([variant()], slots, proven)
    assert found is not None
    assert found.kind is kind


def test_step_when_all_is_as_desired_then_there_is_none() -> None:
    assert step([variant()], [SERVING], {"digits": ("e1", 1)}) is None


def test_step_when_the_same_variant_has_a_new_execution_then_is_proven_again() -> None:
    assert step([variant(execution="e2")], [SERVING], {"digits": ("e1", 1)}) == Step(
        kind=StepKind.PROVE, variant=variant(execution="e2")
    )


def test_step_when_a_variant_failed_then_is_not_tried_again_for_the_same_execution() -> None:
    before = slot(SlotState.SERVING, variant("v0", "e0"))
    failed = slot(SlotState.FAILED, variant(), "b")
    assert step([variant()], [before, failed], {"digits": ("e0", 1)}) is None
    again = step([variant(execution="e2")], [before, failed], {"digits": ("e0", 1)})
    assert again == Step(kind=StepKind.INSTALL, variant=variant(execution="e2"))


def test_step_when_a_failed_one_is_desired_after_a_restart_then_what_served_is_proven() -> None:
    before = variant("v0", "e0")
    slots = [slot(SlotState.SERVING, before), slot(SlotState.FAILED, variant(), "b")]
    assert step([variant()], slots, {}) == Step(kind=StepKind.PROVE, variant=before)


def test_step_when_monitors_differ_then_they_are_set() -> None:
    monitor = DriftMonitor(policy_id="p", model="digits")
    assert step([], [], monitors=([monitor], [])) == Step(kind=StepKind.WATCH)
    assert step([], [], monitors=([monitor], [monitor])) is None


def test_step_when_only_the_documents_version_is_new_then_is_reported() -> None:
    assert step([], [], reported=(1, 0)) == Step(kind=StepKind.REPORT)
