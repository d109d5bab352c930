"""Executions have a priority, a time before which they are not sent, and an end; commands."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "commands",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("selector", JSON, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
    )
    with op.batch_alter_table("executions") as batch:
        batch.add_column(sa.Column("priority", sa.BigInteger(), nullable=False, server_default="20"))
        batch.add_column(sa.Column("not_before", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("expires_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE executions SET expires_at = created_at + 7776000000000")  # ninety days
    op.execute("UPDATE executions SET deadline_at = expires_at WHERE deadline_at IS NULL AND finished_at IS NULL")


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("executions") as batch:
        for name in ("priority", "not_before", "expires_at"):
            batch.drop_column(name)
    op.drop_table("commands")
