"""Events are found by name."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_events_name_id", "events", ["name", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_events_name_id", "events")
