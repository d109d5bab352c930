"""Alembic's entry: runs the migrations on the connection that `controller.migrate` hands over."""

from alembic import context

from controller.migrate import TABLES

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
