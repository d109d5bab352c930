"""Databases with all tables. The migrations run once a kind of database; what they did is done again in the next ones.

They take 0.4 s, and what they did 0.05 s. Whether they are right is not seen here: `test_database` runs them.
"""

from typing import Any, Final

from sqlalchemy import Connection, event, inspect

from controller import migrate
from controller.db import Database

_READING: Final = ("SELECT", "PRAGMA", "BEGIN")
_changes: Final[dict[str, list[tuple[str, Any]]]] = {}  # by kind of database


def make_tables(database: Database) -> None:
    """Do what `migrate.upgrade` does."""
    kind = database.engine.dialect.name
    if inspect(database.engine).has_table("alembic_version"):
        migrate.upgrade(database)
    elif kind in _changes:
        _change(database, _changes[kind])
    else:
        _changes[kind] = _migrate(database)


def _migrate(database: Database) -> list[tuple[str, Any]]:
    """Run the migrations; gives the statements that changed something, with their parameters."""
    changes: list[tuple[str, Any]] = []

    def note(_connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        assert not many
        if not statement.lstrip().upper().startswith(_READING):
            changes.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    migrate.upgrade(database)
    event.remove(database.engine, "before_cursor_execute", note)
    return changes


def _change(database: Database, changes: list[tuple[str, Any]]) -> None:
    with database.engine.connect() as connection:
        if database.is_sqlite:  # as `migrate` does it
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        cursor = connection.connection.cursor()
        for statement, parameters in changes:
            cursor.execute(statement, parameters)
        cursor.close()
        connection.connection.commit()
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
