"""`python -m controller api | gateway | scheduler | all | migrate | openapi`.

What an operator can mend ends with one sentence on standard error and exit code 1; a traceback is a defect.
"""

import argparse
import errno
import sys
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from controller import app, migrate, observe
from controller.db import Database
from controller.errors import ShoalError
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
    options = parser.parse_args(arguments)
    try:
        if options.role == "openapi":
            options.path.write_text(app.openapi_text())
            return 0
        settings = Settings.from_environment()
        observe.configure_logging(settings.log_level)
        if options.role == "migrate":
            _migrate(settings)
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


def _migrate(settings: Settings) -> None:
    database = Database(settings.resolved_database_url())
    try:
        migrate.upgrade(database)
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
