"""One device whose sensor is replaced: it notices, and learns alone."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from scenarios.digits import plan, report
from scenarios.digits.controls import Controls
from scenarios.digits.report import require
from scenarios.digits.serving import Device
from scenarios.errors import StepFailed
from shoal.schemas.devices import Device as DeviceBody
from shoal.schemas.incremental import IncrementalUpdate, LearningSettings, MonitorSettings, PolicyRequest
from shoal.training.dataset import write_shard


def learn_alone(controls: Controls) -> None:
    """Replace the sensor, see it noticed and learned, and measure what was gained and what was lost."""
    device = controls.devices[plan.DRIFTING_DEVICE]
    controls.client.incremental_policies.create(
        PolicyRequest(
            model=plan.MODEL,
            selector=f"id == {device.id}",
            replay_dataset=plan.REPLAY,
            retention_dataset=plan.HELD_OUT,
            monitor=MonitorSettings(threshold=plan.DRIFT_THRESHOLD),
            learning=LearningSettings(dataset=plan.LOCAL_DATASET, new_samples=plan.NEW_SAMPLES, steps=plan.STEPS),
        )
    )
    _await_monitor(controls, device.id)
    update, noticed_after = _stream_until_noticed(controls, device)
    controls.stage.say(
        f"noticed after {noticed_after} inverted samples, without labels; none of the clean ones alarmed"
    )
    ended = _give_labelled_samples(controls, device, update)
    require(ended.state == "kept", f"What the device learned was {ended.state}: {ended.message}")
    require(ended.result_version is not None, "What the device learned did not become a version.")
    assert ended.result_version is not None
    before, after = ended.base_version, ended.result_version
    controls.report.incremental = {
        "old_before": controls.accuracy(before, plan.HELD_OUT),
        "old_after": controls.accuracy(after, plan.HELD_OUT),
        "new_before": controls.accuracy(before, plan.INVERTED),
        "new_after": controls.accuracy(after, plan.INVERTED),
        "noticed_after_samples": noticed_after,
    }
    figures = controls.report.incremental
    controls.stage.say(f"inverted digits {figures['new_before']:.1%} -> {figures['new_after']:.1%}")
    controls.stage.say(f"digits as before {figures['old_before']:.1%} -> {figures['old_after']:.1%}")
    report.check_incremental(figures)


def _await_monitor(controls: Controls, device_id: str) -> None:
    def look() -> tuple[float, str, bool | None]:
        device = controls.client.devices.show(device_id)
        return 0.5, "telling the device to watch", True if device.desired == device.reported else None

    controls.wait("setting the monitor", look, 30)


def _stream_until_noticed(controls: Controls, device: DeviceBody) -> tuple[IncrementalUpdate, int]:
    """Send clean samples, then inverted ones until the device notices; gives after how many it did."""
    share = controls.split.shares[plan.DRIFTING_DEVICE]
    random = np.random.default_rng(controls.seed)
    door = Device(device.facts["inference_url"])
    controls.opened.callback(door.close)
    with controls.stage.bar("a clean stream") as show:
        door.ask(share.take(random.integers(len(share), size=plan.CLEAN_SAMPLES)), lambda done: show(done, ""))
    require(_update_of(controls, device) is None, "The device raised an alarm on its own clean images.")
    inverted = share.inverted().take(random.integers(len(share), size=plan.INVERTED_SAMPLES_LIMIT))
    with controls.stage.bar("an inverted stream") as show:
        for number in range(len(inverted)):
            door.ask(inverted.take(np.array([number])))
            show(number / len(inverted), "")
            if number % 10 == 9 and (update := _update_of(controls, device)) is not None:
                break
        else:
            update = controls.wait("the device's evidence", _look_for_update(controls, device), 15)
    noticed_after = int(update.evidence["samples"]) - plan.CLEAN_SAMPLES
    require(noticed_after > 0, "The device raised an alarm on its own clean images.")
    return update, noticed_after


def _give_labelled_samples(controls: Controls, device: DeviceBody, update: IncrementalUpdate) -> IncrementalUpdate:
    """Put labelled inverted samples into the device's folder, a portion at a time, until it has learned."""
    share = controls.split.shares[plan.DRIFTING_DEVICE]
    index = np.random.default_rng(controls.seed).permutation(len(share))[: plan.NEW_SAMPLES]
    new = share.inverted().take(index)
    folder = controls.state / f"device-{plan.DRIFTING_DEVICE}" / "data" / plan.LOCAL_DATASET
    starts = iter(range(0, len(new), plan.NEW_SAMPLES_A_SHARD))

    def look() -> tuple[float, str, IncrementalUpdate | None]:
        if (start := next(starts, None)) is not None:  # labels come one portion after the other
            portion = new.take(np.arange(start, min(start + plan.NEW_SAMPLES_A_SHARD, len(new))))
            now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
            write_shard(folder, portion.x, portion.y, at=np.full(len(portion), now_us, np.int64))
        found = _update_of(controls, device)
        if found is None or found.id != update.id:
            raise StepFailed("The device's update has gone.")
        words, share_done = "", 0.0
        if found.execution_id is not None:
            execution = controls.client.executions.show(found.execution_id)
            words, share_done = execution.message, execution.progress
        return share_done, words, None if found.finished_at is None else found

    return controls.wait("learning on the device", look, 120)


def _update_of(controls: Controls, device: DeviceBody) -> IncrementalUpdate | None:
    return next(iter(controls.client.incremental_updates.list(device_id=device.id, limit=1).items), None)


def _look_for_update(
    controls: Controls, device: DeviceBody
) -> Callable[[], tuple[float, str, IncrementalUpdate | None]]:
    return lambda: (0.5, "", _update_of(controls, device))
