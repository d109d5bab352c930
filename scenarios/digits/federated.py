"""Ten rounds over MQTT, and version 2."""

from scenarios.digits import plan, report
from scenarios.digits.controls import Controls
from scenarios.digits.report import require
from shoal.schemas.federated import FederatedRun, FederatedRunRequest, TrainingSettings


def learn_together(controls: Controls) -> None:
    """Run the rounds, wait until each is measured, and check the version that came of them."""
    run = controls.client.federated_runs.create(
        FederatedRunRequest(
            model=plan.MODEL,
            version=1,
            selector="all",
            rounds=plan.ROUNDS,
            evaluation_dataset=plan.HELD_OUT,
            training=TrainingSettings(
                dataset=plan.LOCAL_DATASET,
                local_epochs=plan.LOCAL_EPOCHS,
                batch_size=plan.BATCH_SIZE,
                learning_rate=plan.LEARNING_RATE,
                momentum=plan.MOMENTUM,
                seed=controls.seed,
            ),
        )
    )

    def look() -> tuple[float, str, FederatedRun | None]:
        now = controls.client.federated_runs.show(run.id)
        measured = [entry.accuracy for entry in now.rounds if entry.accuracy is not None]
        words = f"round {now.rounds_closed} of {now.rounds_total}"
        words += f", accuracy {measured[-1]:.1%}" if measured else ""
        is_measured = now.baseline_accuracy is not None and len(measured) == now.rounds_total
        is_done = now.state != "running" and (is_measured or now.state != "succeeded")
        return now.rounds_closed / now.rounds_total, words, now if is_done else None

    ended = controls.wait("federated rounds", look, 120)
    require(ended.state == "succeeded", f"The federated run is {ended.state}: {ended.message}")
    controls.report.federated = {
        "baseline_accuracy": ended.baseline_accuracy,
        "rounds": [
            {
                "round": entry.number,
                "accuracy": entry.accuracy,
                "duration_s": entry.duration_s,
                "updates": entry.updates,
            }
            for entry in ended.rounds
        ],
    }
    curve = " ".join(f"{entry.accuracy:.1%}" for entry in ended.rounds if entry.accuracy is not None)
    controls.stage.say(f"accuracy {ended.baseline_accuracy:.1%} -> {curve}")
    report.check_federated(controls.report.federated)
    version = controls.client.models.show_version(plan.MODEL, 2)
    require((version.source, version.parent) == ("federated", 1), "Version 2 does not say that it came of the run.")
