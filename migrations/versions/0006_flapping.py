"""Devices that come and go too often are told apart."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("devices") as batch:
        batch.add_column(sa.Column("flapping", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(op.f("ix_devices_flapping"), "devices", ["flapping"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_index(op.f("ix_devices_flapping"), table_name="devices")
    with op.batch_alter_table("devices") as batch:
        batch.drop_column("flapping")
