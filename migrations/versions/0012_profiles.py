"""What devices measured of variants, and policies of what is built for them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "profilings",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("selector", sa.String(), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_profilings_version_id_versions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profilings")),
    )
    op.create_index(op.f("ix_profilings_version_id"), "profilings", ["version_id"], unique=False)
    op.create_table(
        "profiles",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("variant_id", sa.String(), nullable=False),
        sa.Column("hardware_class", sa.String(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("latency_p50_ms", sa.Double(), nullable=True),
        sa.Column("figures", JSON, nullable=False),
        sa.Column("rates", JSON, nullable=False),
        sa.Column("history", JSON, nullable=False),
        sa.Column("measured_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["variant_id"], ["variants.id"], name=op.f("fk_profiles_variant_id_variants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_profiles_device_id_devices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
        sa.UniqueConstraint("variant_id", "hardware_class", name=op.f("uq_profiles_variant_id")),
    )
    op.create_index(op.f("ix_profiles_hardware_class"), "profiles", ["hardware_class"], unique=False)
    op.create_table(
        "build_policies",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("done", JSON, nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_build_policies_model_models")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_build_policies_version_id_versions"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_build_policies")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("build_policies")
    op.drop_index(op.f("ix_profiles_hardware_class"), table_name="profiles")
    op.drop_table("profiles")
    op.drop_index(op.f("ix_profilings_version_id"), table_name="profilings")
    op.drop_table("profilings")
