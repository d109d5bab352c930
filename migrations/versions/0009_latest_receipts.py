"""The latest receipt of each device and model is marked, so that what the fleet serves is counted by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEX = "ix_receipts_is_latest_model_version"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("receipts") as batch:
        batch.add_column(sa.Column("is_latest", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE receipts SET is_latest = true WHERE id IN (SELECT max(id) FROM receipts GROUP BY device_id, model)"
    )
    op.create_index(_INDEX, "receipts", ["is_latest", "model", "version"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_index(_INDEX, table_name="receipts")
    with op.batch_alter_table("receipts") as batch:
        batch.drop_column("is_latest")
