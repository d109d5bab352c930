"""Groups; selectors are text; what devices are selected by stands in rows with indexes."""

import hashlib
import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from controller.devices.attributes import attributes_of
from controller.devices.selector_language import parse

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SELECTING = ("rollouts", "federated_runs", "incremental_policies", "commands")

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "groups",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("selector", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_groups")),
    )
    op.create_table(
        "group_members",
        sa.Column("group_name", sa.String(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_name"], ["groups.name"], name=op.f("fk_group_members_group_name_groups"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_name", "device", name=op.f("pk_group_members")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_group_members_device"), "group_members", ["device"], unique=False)
    for name, kind in (("device_texts", sa.String()), ("device_numbers", sa.Double())):
        op.create_table(
            name,
            sa.Column("path", sa.String(), nullable=False),
            sa.Column("value", kind, nullable=False),
            sa.Column("device", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("path", "value", "device", name=op.f(f"pk_{name}")),
            sqlite_with_rowid=False,
        )
        op.create_index(f"ix_{name}_device_path", name, ["device", "path"], unique=False)
    with op.batch_alter_table("devices") as batch:
        batch.add_column(sa.Column("number", sa.BigInteger(), nullable=True))
    _spread_out()
    with op.batch_alter_table("devices") as batch:
        batch.alter_column("number", existing_type=sa.BigInteger(), nullable=False)
    op.create_index("ix_devices_selecting", "devices", ["number", "id", "state", "online", "flapping"], unique=False)
    for table in SELECTING:
        _replace_selectors(table, sa.String(), lambda old: _text(old))


def downgrade() -> None:
    """Take back; a selector that the old form cannot say is kept under `text`, and means no device there."""
    for table in SELECTING:
        _replace_selectors(table, JSON, lambda text: {"all": True} if text == "all" else {"text": text})
    op.drop_index("ix_devices_selecting", table_name="devices")
    with op.batch_alter_table("devices") as batch:
        batch.drop_column("number")
    for table in ("device_numbers", "device_texts", "group_members", "groups"):
        op.drop_table(table)


def _spread_out() -> None:
    connection = op.get_bind()
    devices = sa.table(
        "devices",
        sa.column("id", sa.String()),
        sa.column("number", sa.BigInteger()),
        *(sa.column(name, JSON) for name in ("labels", "facts", "reported")),
        sa.column("agent_version", sa.String()),
    )
    texts, numbers = (
        sa.table(name, sa.column("path"), sa.column("value"), sa.column("device"))
        for name in ("device_texts", "device_numbers")
    )
    known = sa.select(devices).order_by(devices.c.id).limit(500)
    after = ""
    while rows := connection.execute(known.where(devices.c.id > after)).all():
        after = rows[-1].id
        for row in rows:
            number = int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:8], "big") >> 1
            connection.execute(sa.update(devices).where(devices.c.id == row.id).values(number=number))
            spread = attributes_of(
                labels=row.labels, facts=row.facts, reported=row.reported, agent_version=row.agent_version
            )
            for table, found in ((texts, spread.texts), (numbers, spread.numbers)):
                if found:
                    values = [{"path": path, "value": value, "device": number} for path, value in found]
                    connection.execute(sa.insert(table), values)


def _replace_selectors(table, kind, convert) -> None:
    connection = op.get_bind()
    is_text = isinstance(kind, sa.String)
    old = sa.table(table, sa.column("id"), sa.column("selector", JSON if is_text else sa.String()))
    kept = [(row.id, convert(row.selector)) for row in connection.execute(sa.select(old))]
    with op.batch_alter_table(table) as batch:
        batch.drop_column("selector")
        batch.add_column(sa.Column("selector", kind, nullable=True))
    new = sa.table(table, sa.column("id"), sa.column("selector", kind))
    for row_id, selector in kept:
        connection.execute(sa.update(new).where(new.c.id == row_id).values(selector=selector))
    with op.batch_alter_table(table) as batch:
        batch.alter_column("selector", existing_type=kind, nullable=False)


def _text(old) -> str:
    if "text" in old:
        return old["text"]
    if old.get("device_ids"):
        return str(parse(f"id in ({', '.join(map(json.dumps, old['device_ids']))})"))
    labels = sorted((old.get("labels") or {}).items())
    wanted = " and ".join(f"labels[{json.dumps(name)}] == {json.dumps(value)}" for name, value in labels)
    return str(parse(wanted or "all"))
