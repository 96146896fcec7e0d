"""Roles of admin keys, whose they are, and the audit log: rows that can only be added."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GENESIS = bytes(32)
TEXTS = ("actor_email", "address", "user_agent", "before", "after")
REFUSAL = "the audit log is append-only"


def upgrade() -> None:
    """Every admin key of before is the operator's, and so are those that older code still makes."""
    op.add_column("admin_key", sa.Column("role", sa.String(), nullable=False, server_default="operator"))
    with op.batch_alter_table("admin_key") as batch:
        for name, table in (("tenant_id", "tenant"), ("project_id", "project")):
            batch.add_column(sa.Column(name, sa.String(), nullable=True))
            batch.create_foreign_key(f"fk_admin_key_{name}", table, [name], ["id"])
    op.create_index("ix_admin_key_tenant_id", "admin_key", ["tenant_id"])
    op.create_table(
        "audit_event",
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=True),
        sa.Column("project_id", sa.String(), nullable=True),
        *(sa.Column(name, sa.String(), nullable=False)
          for name in ("subject_id", "actor_kind", "actor_id", "actor_name", "actor_role")),
        *(sa.Column(name, sa.String(), nullable=True) for name in TEXTS),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_audit_event"),
        sa.UniqueConstraint("id", name="uq_audit_event_id"),
    )  # fmt: skip
    op.create_index("ix_audit_event_at_us", "audit_event", ["at_us"])
    op.create_index("ix_audit_event_tenant_id_position", "audit_event", ["tenant_id", "position"])
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.bulk_insert(head, [{"id": 1, "position": 0, "hash": GENESIS}])
    _refuse_changes()


def downgrade() -> None:
    """Drop them again: every admin key is the operator's then, so those of tenants are revoked first."""
    op.drop_table("audit_head")
    op.drop_table("audit_event")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_event_refuse()")
    op.execute("UPDATE admin_key SET state = 'revoked' WHERE tenant_id IS NOT NULL")
    op.drop_index("ix_admin_key_tenant_id", "admin_key")
    with op.batch_alter_table("admin_key") as batch:
        for name in ("project_id", "tenant_id"):
            batch.drop_constraint(f"fk_admin_key_{name}", type_="foreignkey")
            batch.drop_column(name)
    op.drop_column("admin_key", "role")


def _refuse_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_event_no_{verb.lower()} BEFORE {verb} ON audit_event"
            f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        )
