"""Certificates, sessions, the reason of a device's state, and who a broker shall shut out."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "broker_access",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.BigInteger(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("synced", sa.BigInteger(), nullable=False),
        sa.Column("crl", sa.String(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broker_access")),
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_certificates_device_id_devices")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_certificates")),
    )
    op.create_index(op.f("ix_certificates_device_id"), "certificates", ["device_id"])
    op.create_index(op.f("ix_certificates_revoked_at"), "certificates", ["revoked_at"])
    op.create_table(
        "device_sessions",
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("agent_version", sa.String(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_sessions_device_id_devices")),
        sa.PrimaryKeyConstraint("device_id", "session", name=op.f("pk_device_sessions")),
    )
    with op.batch_alter_table("devices") as batch:
        batch.add_column(sa.Column("state_reason", sa.String(), nullable=False, server_default=""))
        batch.add_column(sa.Column("hardware_id", sa.String(), nullable=True))
        batch.add_column(sa.Column("claims_device_id", sa.String(), nullable=True))
        batch.add_column(sa.Column("session_must_end", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("revoked_in", sa.BigInteger(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("offer_number", sa.BigInteger(), nullable=False, server_default="0"))
        batch.create_index(batch.f("ix_devices_hardware_id"), ["hardware_id"])
        batch.create_index(batch.f("ix_devices_session_must_end"), ["session_must_end"])
        batch.create_index(batch.f("ix_devices_revoked_in"), ["revoked_in"])
    with op.batch_alter_table("enrollment_tokens") as batch:
        batch.add_column(sa.Column("needs_approval", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("enrollment_tokens") as batch:
        batch.drop_column("needs_approval")
    with op.batch_alter_table("devices") as batch:
        for name in ("hardware_id", "session_must_end", "revoked_in"):
            batch.drop_index(batch.f(f"ix_devices_{name}"))
        for name in (
            *("state_reason", "hardware_id", "claims_device_id"),
            *("session_must_end", "revoked_in", "offer_number"),
        ):
            batch.drop_column(name)
    op.drop_table("device_sessions")
    op.drop_table("certificates")
    op.drop_table("broker_access")
