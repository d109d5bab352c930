"""`python -m controller api | gateway | scheduler | all | migrate | openapi | broker-config`.

What an operator can mend ends with one sentence on standard error and exit code 1; a traceback is a defect.
"""

import argparse
import errno
import json
import sys
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from controller import app, broker, migrate, observe
from controller.db import Database
from controller.errors import ShoalError
from controller.keys import Keys
from controller.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run a role; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m controller", description="Shoal's controller.")
    roles = parser.add_subparsers(dest="role", required=True)
    for name, text in (
        ("api", "serve the operators' door"),
        ("gateway", "serve the devices' doors: HTTPS and MQTT"),
        ("scheduler", "watch timers and run jobs"),
        ("all", "all of these in one process; brings the tables up to date first"),
        ("migrate", "bring the database's tables up to date"),
    ):
        roles.add_parser(name, help=text)
    roles.add_parser("openapi", help="write the API's description").add_argument(
        "path", type=Path, nargs="?", default=Path("docs/openapi.json")
    )
    _add_broker_config(roles)
    options = parser.parse_args(arguments)
    try:
        if options.role == "openapi":
            options.path.write_text(app.openapi_text())
            return 0
        settings = Settings.from_environment()
        observe.configure_logging(settings.log_level)
        if options.role == "migrate":
            _migrate(settings)
        elif options.role == "broker-config":
            _write_broker_config(settings, options)
        else:
            app.run(app.Role(options.role), settings)
    except (ShoalError, OSError, SQLAlchemyError) as error:
        sys.stderr.write(f"{sentence(error)}\n")
        return 1
    return 0


def sentence(error: Exception) -> str:
    """Say in one line what went wrong and what to do."""
    if isinstance(error, ShoalError):
        return error.message
    if isinstance(error, OSError):
        place = f" at {error.filename}" if error.filename else ""
        if error.errno == errno.ENOSPC:
            return f"The disk is full{place}: make room, or set SHOAL_STATE to another folder."
        return f"The controller's files cannot be used{place}: {error.strerror or error}. See SHOAL_STATE."
    cause = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
    if "disk is full" in cause:
        return "The disk of the database is full: make room, or set SHOAL_DATABASE_URL to another place."
    return f"The database cannot be used ({cause}): check SHOAL_DATABASE_URL and that it is running."


def _add_broker_config(roles: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = roles.add_parser(
        "broker-config",
        help="write the configuration of a Mosquitto for this controller's devices",
        description="Write all that a Mosquitto 2 needs to serve this controller's devices: its configuration, access "
        "list, certificate and revocation list. Run it where the gateway's SHOAL_STATE is, since it needs the CA's "
        "key. Run again, it renews the broker's certificate (397 days) and keeps whom the broker shuts out.",
        epilog="`shoal broker config` is the same command.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for it")
    parser.add_argument(
        "--host",
        action="append",
        required=True,
        metavar="NAME",
        help="name or address by which devices reach the broker; may be repeated",
    )
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="default 127.0.0.1; 0.0.0.0 is all")
    parser.add_argument("--port", type=int, default=8883, help="default 8883")
    parser.add_argument(
        "--controllers", type=int, default=1, metavar="N", help="let in controller-1 to controller-N; default 1"
    )
    parser.add_argument("--user", default="mosquitto", help="user that the broker runs as; default mosquitto")
    parser.add_argument(
        "--installed-at", type=Path, metavar="DIR", help="where the folder will stand if it is taken elsewhere"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that were not written here, or changed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _write_broker_config(settings: Settings, options: argparse.Namespace) -> None:
    folder: Path = options.output.absolute()
    plan = broker.BrokerPlan(
        hosts=options.host,
        listen=options.listen,
        port=options.port,
        controllers=options.controllers,
        user=options.user,
        place=options.installed_at or folder,
    )
    written = broker.write_config(folder, plan, Keys.open(settings.state), is_forced=options.force)
    host = f"[{options.host[0]}]" if ":" in options.host[0] else options.host[0]
    told = {
        "written": [str(path) for path in written],
        "start": f"mosquitto -c {plan.place / broker.CONFIG}",
        "broker_url": f"mqtts://{host}:{options.port}",
        "sync": f"shoal broker sync --folder {plan.place} --watch",
    }
    if options.json:
        sys.stdout.write(f"{json.dumps(told, indent=2)}\n")
        return
    sys.stdout.write("".join(f"wrote {path}\n" for path in told["written"]))
    sys.stdout.write(
        f"Start the broker:    {told['start']}   (if it runs already: kill -HUP its process)\n"
        f"Start the controller with SHOAL_BROKER_URL={told['broker_url']}\n"
        f"Beside the broker:   {told['sync']}   (so that it shuts out whom you suspend or retire)\n"
    )


def _migrate(settings: Settings) -> None:
    database = Database(settings.resolved_database_url())
    try:
        migrate.upgrade(database)
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
