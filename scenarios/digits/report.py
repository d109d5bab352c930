"""What the voyage measured: kept as it goes, checked, written to `report.json`, and shown as a table."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scenarios.digits import plan
from scenarios.errors import StepFailed


@dataclass
class Report:
    """Every figure is measured in the run that writes it; what was not reached is absent."""

    devices: dict[str, int] = field(default_factory=dict)
    variants: list[dict[str, Any]] = field(default_factory=list)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    inference: dict[str, float] = field(default_factory=dict)
    federated: dict[str, Any] = field(default_factory=dict)
    incremental: dict[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0

    def write(self, path: Path) -> None:
        """Write the report, whole or not at all."""
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(path)


def require(holds: bool, message: str) -> None:
    """End the voyage unless something holds.

    Raises:
        StepFailed.
    """
    if not holds:
        raise StepFailed(message)


def check_variants(variants: list[dict[str, Any]]) -> None:
    """Check that int8 is small and as good as fp32.

    Raises:
        StepFailed: It is not, or one of the three variants is missing.
    """
    found = {(variant["recipe"], variant["runtime"]): variant for variant in variants}
    wanted = {("fp32", "onnxruntime"), ("int8", "onnxruntime"), ("int8", "openvino")}
    require(wanted <= found.keys(), f"Of the variants {sorted(wanted)} only {sorted(found)} were made.")
    full = found["fp32", "onnxruntime"]
    for name in (("int8", "onnxruntime"), ("int8", "openvino")):
        small = found[name]
        drop = full["accuracy"] - small["accuracy"]
        ratio = small["size_bytes"] / full["size_bytes"]
        require(drop <= plan.MAX_INT8_ACCURACY_DROP + plan.EPSILON, f"int8 on {name[1]} loses {drop:.1%} accuracy.")
        require(ratio <= plan.MAX_INT8_SIZE_RATIO, f"int8 on {name[1]} has {ratio:.2f} of the size of fp32.")


def check_federated(figures: dict[str, Any]) -> None:
    """Check that learning together helped.

    Raises:
        StepFailed: It did not.
    """
    rounds = figures["rounds"]
    require(len(rounds) == plan.ROUNDS, f"{len(rounds)} of {plan.ROUNDS} rounds were closed and measured.")
    last, baseline = rounds[-1]["accuracy"], figures["baseline_accuracy"]
    require(last >= plan.MIN_FEDERATED_ACCURACY, f"The accuracy after the last round is {last:.3f}.")
    require(last - baseline >= plan.MIN_FEDERATED_GAIN, f"The rounds gained {last - baseline:+.3f} only.")


def check_incremental(figures: dict[str, Any]) -> None:
    """Check that the device learned the new without losing the old.

    Raises:
        StepFailed: It did not.
    """
    gain = figures["new_after"] - figures["new_before"]
    drop = figures["old_before"] - figures["old_after"]
    require(gain >= plan.MIN_NEW_GAIN, f"The device gained {gain:+.3f} on the inverted digits only.")
    require(drop <= plan.MAX_OLD_DROP + plan.EPSILON, f"The device lost {drop:.3f} on the digits that it knew.")


def show(report: Report, console: Console) -> None:
    """Show the report as tables."""
    table = Table(title="Variants", title_justify="left", header_style="bold")
    for name in ("version", "recipe", "runtime"):
        table.add_column(name)
    for name in ("KiB", "accuracy", "agrees with fp32", "latency ms"):
        table.add_column(name, justify="right")
    for variant in report.variants:
        table.add_row(
            str(variant["version"]),
            variant["recipe"],
            variant["runtime"],
            f"{variant['size_bytes'] / 1024:.0f}",
            f"{variant['accuracy']:.1%}",
            f"{variant['agreement']:.1%}",
            f"{variant['latency_ms']:.3f}",
        )
    console.print(table)
    summary = Table(title="Voyage", title_justify="left", show_header=False)
    summary.add_column(style="bold")
    summary.add_column()
    for name, text in _rows(report):
        summary.add_row(name, text)
    console.print(summary)


def _rows(report: Report) -> list[tuple[str, str]]:
    inference, federated, alone = report.inference, report.federated, report.incremental
    accuracies = [entry["accuracy"] for entry in federated["rounds"]]
    rollouts = ", ".join(
        f"version {one['version']} {one['state']} on {one['receipts']} receipts" for one in report.rollouts
    )
    return [
        ("devices", f"{report.devices['online']} online of {report.devices['expected']}"),
        ("rollouts", rollouts),
        (
            "serving",
            f"{inference['accuracy']:.1%} right; {inference['local_p50_ms']:.2f} ms on the device, "
            f"{inference['via_controller_p50_ms']:.2f} ms through the controller (p50)",
        ),
        (
            "learned together",
            f"{federated['baseline_accuracy']:.1%} -> {accuracies[-1]:.1%} in {len(accuracies)} rounds",
        ),
        ("drift noticed", f"after {alone['noticed_after_samples']} inverted samples, no alarm on the clean ones"),
        ("learned alone, new", f"{alone['new_before']:.1%} -> {alone['new_after']:.1%} on inverted digits"),
        ("learned alone, old", f"{alone['old_before']:.1%} -> {alone['old_after']:.1%} on the digits as they were"),
        ("duration", f"{report.duration_s:.0f} s"),
    ]
