"""Owners of keys (service accounts), when projects were archived, what tenants tell themselves, alerts on
spend, and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

PICOS = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")

OWN_ACCOUNTS = """
    INSERT INTO service_account (id, tenant_id, project_id, name, role, created_us)
    SELECT 'svc_acct_' || substr(project.id, 6), project.tenant_id, project.id,
           'Keys of the project', 'member', project.created_us
    FROM project WHERE EXISTS (SELECT 1 FROM api_key WHERE api_key.project_id = project.id)
"""
OWNERS = "UPDATE api_key SET service_account_id = 'svc_acct_' || substr(project_id, 6)"
ARCHIVED = """
    UPDATE project SET archived_us = coalesce(
        (SELECT max(at_us) FROM change WHERE kind = 'project.archived' AND subject_id = project.id),
        project.created_us)
    WHERE state = 'archived'
"""


def upgrade() -> None:
    """Keys that are there get their project's own service account for an owner; nothing else changes for
    them.
    """
    op.add_column(
        "usage_limit", sa.Column("by_tenant", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("project", sa.Column("archived_us", sa.BigInteger(), nullable=True))
    op.execute(ARCHIVED)
    op.create_table(
        "service_account",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_service_account"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_service_account_tenant_id"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_service_account_project_id"),
    )
    op.create_index("ix_service_account_project_id", "service_account", ["project_id", "created_us", "id"])
    op.execute(OWN_ACCOUNTS)
    for name in ("service_account_id", "user_id"):
        op.add_column("api_key", sa.Column(name, sa.String(), nullable=True))
        op.create_index(f"ix_api_key_{name}", "api_key", [name])
    op.execute(OWNERS)
    _make_alerts()
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("notice", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("fault", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index(
        "ix_outbox_due_us",
        "outbox",
        ["due_us"],
        sqlite_where=sa.text("due_us IS NOT NULL"),
        postgresql_where=sa.text("due_us IS NOT NULL"),
    )


def _make_alerts() -> None:
    op.create_table(
        "spend_alert",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=True),
        sa.Column("threshold_picos", PICOS, nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_spend_alert"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_spend_alert_tenant_id"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_spend_alert_project_id"),
    )
    op.create_index("ix_spend_alert_tenant_id", "spend_alert", ["tenant_id", "created_us", "id"])
    op.create_table(
        "spend_alert_firing",
        sa.Column("alert_id", sa.String(), nullable=False),
        sa.Column("window_us", sa.BigInteger(), nullable=False),
        sa.Column("threshold_picos", PICOS, nullable=False),
        sa.Column("spent_picos", PICOS, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "window_us", "threshold_picos", name="pk_spend_alert_firing"),
    )


def downgrade() -> None:
    """Drop them again: keys have no owner then, as before, and tenants no limits on themselves."""
    op.execute("DELETE FROM usage_limit WHERE by_tenant")
    op.drop_column("usage_limit", "by_tenant")
    for table in ("outbox", "spend_alert_firing", "spend_alert"):
        op.drop_table(table)
    for name in ("user_id", "service_account_id"):
        op.drop_index(f"ix_api_key_{name}", table_name="api_key")
        op.drop_column("api_key", name)
    op.drop_table("service_account")
    op.drop_column("project", "archived_us")
