"""The steps in order; each ends with a check, so that the voyage ends where something is not as it shall be."""

import time
from typing import Final

from scenarios.digits import models, plan
from scenarios.digits.controls import Controls
from scenarios.digits.enrolment import enroll
from scenarios.digits.federated import learn_together
from scenarios.digits.incremental import learn_alone
from scenarios.digits.serving import serve

STEPS: Final = 8  # beside starting the system


def sail(controls: Controls) -> None:
    """Do everything.

    Raises:
        StepFailed: A step did not do what it shall.
    """
    controls.stage.step(f"{plan.DEVICES} devices enrol themselves")
    enroll(controls)
    controls.stage.step(f"Register version 1, trained on the digits of device {plan.FIRST_DEVICE} alone")
    models.register(controls)
    controls.stage.step("Compress it on Ray")
    models.compress(controls, 1)
    controls.stage.step("Roll out: one canary, then the rest")
    models.roll_out(controls, 1)
    controls.stage.step("Serve: ask every device, and the controller")
    serve(controls, 1)
    controls.stage.step(f"Learn together: {plan.ROUNDS} federated rounds, then version 2 by the same path")
    learn_together(controls)
    models.compress(controls, 2)
    models.roll_out(controls, 2)
    controls.stage.step(f"Learn alone: the sensor of device {plan.DRIFTING_DEVICE} now gives inverted images")
    learn_alone(controls)
    controls.stage.step("What came of it")


def rest(controls: Controls) -> None:
    """Wait until Ctrl-C, or until a process ends by itself."""
    while True:
        controls.alive()
        time.sleep(1)
