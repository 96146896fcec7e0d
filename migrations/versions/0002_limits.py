"""Limits, their balances and leases; and the end user of a call."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

AMOUNT = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")


def upgrade() -> None:
    """Make the tables; rows of usage from before have no end user."""
    op.add_column("usage", sa.Column("end_user", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "usage_limit",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=True),
        sa.Column("api_key_id", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("end_user", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("window", sa.String(), nullable=True),
        sa.Column("max_value", AMOUNT, nullable=False),
        sa.Column("burst", AMOUNT, nullable=True),
        sa.Column("soft", sa.Boolean(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_usage_limit_tenant_id"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_usage_limit_project_id"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_key.id"], name="fk_usage_limit_api_key_id"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_limit"),
    )
    op.create_index("ix_usage_limit_tenant_id", "usage_limit", ["tenant_id", "project_id", "api_key_id"])
    op.create_table(
        "limit_balance",
        *_balance_key(),
        sa.Column("used", AMOUNT, nullable=False),
        sa.Column("leased", AMOUNT, nullable=False),
        sa.PrimaryKeyConstraint("limit_id", "end_user", "window_us", name="pk_limit_balance"),
        sa.CheckConstraint("used >= 0", name="ck_limit_balance_used_positive"),
        sa.CheckConstraint("leased >= 0", name="ck_limit_balance_leased_positive"),
    )
    op.create_table(
        "limit_rate",
        sa.Column("limit_id", sa.String(), nullable=False),
        sa.Column("tat_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("limit_id", name="pk_limit_rate"),
    )
    op.create_table(
        "lease_holder",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("worker", sa.Integer(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.Column("turn", AMOUNT, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_lease_holder"),
    )
    op.create_table(
        "lease",
        sa.Column("holder_id", sa.String(), nullable=False),
        *_balance_key(),
        sa.Column("held", AMOUNT, nullable=False),
        sa.PrimaryKeyConstraint("holder_id", "limit_id", "end_user", "window_us", name="pk_lease"),
        sa.CheckConstraint("held >= 0", name="ck_lease_held_positive"),
    )
    op.create_index("ix_lease_limit_id", "lease", ["limit_id", "end_user", "window_us"])
    op.create_table(
        "limit_event",
        *_balance_key(),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("used", AMOUNT, nullable=False),
        sa.PrimaryKeyConstraint("limit_id", "end_user", "window_us", name="pk_limit_event"),
    )


def downgrade() -> None:
    """Drop them again."""
    for table in ("limit_event", "lease", "lease_holder", "limit_rate", "limit_balance", "usage_limit"):
        op.drop_table(table)
    op.drop_column("usage", "end_user")


def _balance_key() -> list[sa.Column[object]]:
    return [
        sa.Column("limit_id", sa.String(), nullable=False),
        sa.Column("end_user", sa.String(), nullable=False),
        sa.Column("window_us", sa.BigInteger(), nullable=False),
    ]
