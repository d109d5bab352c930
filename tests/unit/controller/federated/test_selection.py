"""Cohorts: who takes part, and why the others do not."""

from controller.federated.selection import Cohort, DeviceSnapshot, choose_cohort


def device(name: str, *, is_active: bool = True, is_online: bool = True, can_train: bool = True) -> DeviceSnapshot:
    return DeviceSnapshot(id=name, is_active=is_active, is_online=is_online, can_train=can_train)


def test_choose_cohort_when_some_cannot_then_they_are_left_out_by_reason() -> None:
    found = choose_cohort(
        [
            device("d-c"),
            device("d-a"),
            device("d-b", is_online=False),
            device("d-d", can_train=False),
            device("d-e", can_train=False, is_online=False),
            device("d-f", is_active=False, is_online=False),
        ]
    )
    assert found == Cohort(device_ids=["d-a", "d-c"], left_out={"offline": 1, "cannot_train": 2, "not_active": 1})
