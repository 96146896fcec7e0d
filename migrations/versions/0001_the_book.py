"""The book: tenancy, prices, usage with its hourly rollups, and the change log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ORDERED_TEXT = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")
PICOS = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenant"),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_project_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_project"),
    )
    op.create_index("ix_project_tenant_id", "project", ["tenant_id"])
    op.create_table(
        "api_key",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        *_key_columns(),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_api_key_project_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_api_key_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("digest", name="uq_api_key_digest"),
    )
    op.create_index("ix_api_key_project_id", "api_key", ["project_id"])
    op.create_index("ix_api_key_tenant_id", "api_key", ["tenant_id"])
    op.create_table(
        "admin_key",
        *_key_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_admin_key"),
        sa.UniqueConstraint("digest", name="uq_admin_key_digest"),
    )
    op.create_table(
        "price_version",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("input_micros_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_micros_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("output_micros_per_mtok", sa.BigInteger(), nullable=False),
        sa.Column("request_micros", sa.BigInteger(), nullable=False),
        sa.Column("effective_from_us", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_price_version_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_price_version"),
    )
    for name, columns, where in (
        ("uq_price_version_default", ["model", "effective_from_us"], "tenant_id IS NULL"),
        ("uq_price_version_tenant", ["model", "tenant_id", "effective_from_us"], "tenant_id IS NOT NULL"),
    ):
        op.create_index(
            name,
            "price_version",
            columns,
            unique=True,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "usage",
        sa.Column("request_id", ORDERED_TEXT, nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=False),
        sa.Column("first_byte_us", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("streamed", sa.Boolean(), nullable=False),
        sa.Column("ending", sa.String(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("usage_source", sa.String(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("amount_picos", PICOS, nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("price_version_id", sa.String(), nullable=True),
        sa.Column("posted_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_usage"),
        _integer_only("usage"),
    )
    op.create_index("ix_usage_started_us", "usage", ["started_us", "request_id"])
    op.create_index("ix_usage_tenant_id_started_us", "usage", ["tenant_id", "started_us", "request_id"])
    op.create_table(
        "usage_hour",
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("usage_source", sa.String(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("amount_picos", PICOS, nullable=False),
        sa.PrimaryKeyConstraint(
            "hour_us",
            "tenant_id",
            "project_id",
            "api_key_id",
            "model",
            "endpoint",
            "currency",
            "usage_source",
            name="pk_usage_hour",
        ),
        _integer_only("usage_hour"),
    )
    op.create_table(
        "change",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop every table, the referring ones first."""
    for table in (
        "change",
        "usage_hour",
        "usage",
        "price_version",
        "admin_key",
        "api_key",
        "project",
        "tenant",
    ):
        op.drop_table(table)


def _key_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("redacted", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("last_used_us", sa.BigInteger(), nullable=True),
    ]


def _integer_only(table: str) -> sa.CheckConstraint:
    """SQLite alone: a sum past 64 bits becomes a float there, and a float is refused."""
    check = sa.CheckConstraint("typeof(amount_picos) = 'integer'", name=f"ck_{table}_amount_picos_integer")
    return check.ddl_if(dialect="sqlite")
