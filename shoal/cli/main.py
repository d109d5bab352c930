"""The `shoal` command: `shoal NOUN VERB`. Exit code 0, 1 (failed) or 2 (usage)."""

import sys
from typing import Final

import typer
from pydantic import ValidationError

from shoal.cli import (
    alert_rules,
    alerts,
    boards,
    broker,
    commands,
    compressions,
    datasets,
    demo,
    devices,
    enrollment_tokens,
    executions,
    federated_runs,
    fleet,
    groups,
    incremental_policies,
    incremental_updates,
    inference,
    jobs,
    labels,
    models,
    observe,
    output,
    profiles,
    rollouts,
    simulate,
    telemetry,
    tokens,
    toolchain,
    up,
    variants,
    versions,
    webhooks,
)
from shoal.cli.errors import CliError
from shoal.client import ApiError, Unreachable

app = typer.Typer(
    name="shoal",
    help="Deep learning on a fleet of edge devices.",
    epilog="The controller is at SHOAL_URL (http://127.0.0.1:8080). SHOAL_TOKEN is used, or what `shoal login` kept.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SYSTEM: Final = "Run it"
_REGISTRY: Final = "Models"
_FLEET: Final = "The fleet"
_WORK: Final = "Work"
_OFFICE: Final = "The controller"

app.command("up", rich_help_panel=_SYSTEM)(up.up)
app.command("demo", rich_help_panel=_SYSTEM, context_settings={"allow_interspersed_args": False})(demo.sail)
app.command("simulate", rich_help_panel=_SYSTEM)(simulate.simulate)
app.command("login", rich_help_panel=_SYSTEM)(tokens.login)
app.command("logout", rich_help_panel=_SYSTEM)(tokens.logout)
app.command("fleet", rich_help_panel=_FLEET)(fleet.show_fleet)
for _name, _noun, _panel in (
    ("devices", devices.app, _FLEET),
    ("groups", groups.app, _FLEET),
    ("labels", labels.app, _FLEET),
    ("enrollment-tokens", enrollment_tokens.app, _FLEET),
    ("telemetry", telemetry.app, _FLEET),
    ("alert-rules", alert_rules.app, _FLEET),
    ("alerts", alerts.app, _FLEET),
    ("datasets", datasets.app, _REGISTRY),
    ("models", models.app, _REGISTRY),
    ("versions", versions.app, _REGISTRY),
    ("variants", variants.app, _REGISTRY),
    ("profiles", profiles.app, _REGISTRY),
    ("boards", boards.app, _REGISTRY),
    ("inference", inference.app, _REGISTRY),
    ("compressions", compressions.app, _WORK),
    ("rollouts", rollouts.app, _WORK),
    ("federated-runs", federated_runs.app, _WORK),
    ("incremental-policies", incremental_policies.app, _WORK),
    ("incremental-updates", incremental_updates.app, _WORK),
    ("commands", commands.app, _WORK),
    ("executions", executions.app, _WORK),
    ("jobs", jobs.app, _WORK),
    ("events", observe.events, _OFFICE),
    ("refusals", observe.refusals, _OFFICE),
    ("audit", observe.audit, _OFFICE),
    ("tokens", tokens.app, _OFFICE),
    ("webhooks", webhooks.app, _OFFICE),
    ("broker", broker.app, _OFFICE),
    ("toolchain", toolchain.app, _SYSTEM),
):
    app.add_typer(_noun, name=_name, rich_help_panel=_panel)


def main() -> None:
    """Run a command and end with its exit code; what can be mended is one sentence on standard error."""
    try:
        app(prog_name="shoal")
    except (ApiError, Unreachable, CliError, ValidationError, OSError) as error:
        sys.exit(output.fail(error))
