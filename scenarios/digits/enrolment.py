"""Six agents as processes, each with its share of the digits, that enrol themselves."""

from typing import Final

import numpy as np

from scenarios import fleet
from scenarios.digits import plan
from scenarios.digits.controls import Controls
from scenarios.fleet import AgentSettings
from shoal.schemas.devices import Device, EnrollmentTokenRequest
from shoal.training.dataset import write_shard

_NUMBER: Final = "number"


def enroll(controls: Controls) -> None:
    """Start the agents and wait until all are online."""
    settings = [
        AgentSettings(
            state=controls.state / f"device-{number}",
            runtimes=runtimes,
            token=_token(controls, number),
            device_url=controls.address.device_url,
        )
        for number, runtimes in enumerate(plan.RUNTIMES)
    ]
    for one, share in zip(settings, controls.split.shares, strict=True):
        write_shard(one.data / plan.LOCAL_DATASET, share.x, share.y)
    controls.processes = controls.opened.enter_context(fleet.agents(settings))

    def look() -> tuple[float, str, list[Device] | None]:
        page = controls.client.devices.list(limit=100)
        ready = [device for device in page.items if device.online and device.facts.get("inference_url")]
        words = f"{page.total} enrolled, {len(ready)} online"
        return len(ready) / plan.DEVICES, words, ready if len(ready) == plan.DEVICES else None

    ready = controls.wait("enrolling", look, 60)
    controls.devices = sorted(ready, key=lambda device: int(device.labels[_NUMBER]))
    total = controls.client.devices.list(limit=1).total or 0
    controls.report.devices = {"expected": plan.DEVICES, "enrolled": total, "online": len(ready)}
    for number, (device, share) in enumerate(zip(controls.devices, controls.split.shares, strict=True)):
        digits = "".join(str(digit) for digit in np.unique(share.y))
        runtimes = ", ".join(device.facts["runtimes"])
        controls.stage.say(f"device {number}  {device.id}  {runtimes:12} {len(share):4} images of digits {digits}")


def _token(controls: Controls, number: int) -> str:
    """Make an enrolment token for one device, which gives it its number as a label."""
    request = EnrollmentTokenRequest(
        name=f"device {number}", labels={_NUMBER: str(number)}, max_uses=1, expires_in_s=3600
    )
    return controls.client.enrollment_tokens.create(request).token
