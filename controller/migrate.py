"""Brings a database's tables to what this version of the code needs, and tells whether they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import alembic.command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from controller import audit, events, observe, scheduler
from controller.artifacts import tables as artifacts
from controller.auth import tables as auth
from controller.db import Base, Database
from controller.devices import tables as devices
from controller.executions import tables as executions
from controller.federated import tables as federated
from controller.incremental import tables as incremental
from controller.jobs import tables as jobs
from controller.profiles import tables as profiles
from controller.rollouts import tables as rollouts
from controller.telemetry import tables as telemetry
from controller.webhooks import tables as webhooks

# A table is known to the metadata once its module is imported; naming the modules keeps the list in sight.
_MODULES: Final = (
    *(audit, events, observe, scheduler),
    *(artifacts, auth, devices, executions, federated, incremental, jobs, profiles, rollouts, telemetry, webhooks),
)
TABLES: Final = Base.metadata
_FOLDER: Final = Path(__file__).resolve().parent.parent / "migrations"


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply the migrations up to `revision`; doing it again changes nothing."""
    with _whole(database) as connection:
        alembic.command.upgrade(_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the migrations after `revision` back; `base` leaves no table."""
    with _whole(database) as connection:
        alembic.command.downgrade(_config(connection), revision)


def differences(database: Database) -> list[str]:
    """Say in what the database's tables differ from the code's; empty where they are the same."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, TABLES)]


def is_current(database: Database) -> bool:
    """Tell whether all migrations of this version of the code were applied."""
    with database.engine.connect() as connection:
        applied = MigrationContext.configure(connection).get_current_heads()
        return set(applied) == set(ScriptDirectory.from_config(_config(connection)).get_heads())


@contextmanager
def _whole(database: Database) -> Iterator[Connection]:
    """Open a transaction that holds all migrations, so that a kill half-way leaves the tables as they were."""
    if not database.is_sqlite:
        with database.engine.begin() as connection:
            yield connection
        return
    with database.engine.connect() as connection:
        # SQLite changes a table by making it anew, and may not drop one that others refer to; checked as a whole below.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                raise RuntimeError(f"the migrations broke references: {broken[:5]}")
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config
