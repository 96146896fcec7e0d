"""PostgreSQL keeps `usage` in monthly partitions; and the check of the secret that keys are made with.

SQLite keeps its one table. On PostgreSQL the rows are copied, while nothing else can read or write them:
some ten seconds for a million rows.
"""

import time

import sqlalchemy as sa
from alembic import op

from ledger.partitions import DEFAULT, make_partitions, months_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_usage_started_us": ["started_us", "request_id"],
    "ix_usage_tenant_id_started_us": ["tenant_id", "started_us", "request_id"],
}


def upgrade() -> None:
    """Cut the table at its key, the request id, which begins with its time."""
    op.create_table(
        "secret_check",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_secret_check"),
        sa.UniqueConstraint("digest", name="uq_secret_check_digest"),
        sa.CheckConstraint("id = 1", name="ck_secret_check_one_row"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _rebuild("PARTITION BY RANGE (request_id)")


def downgrade() -> None:
    """One table again."""
    if op.get_bind().dialect.name == "postgresql":
        _rebuild("")
    op.drop_table("secret_check")


def _rebuild(partitioning: str) -> None:
    """Make `usage` anew, and move the rows over; dropping a partitioned table drops its partitions."""
    connection = op.get_bind()
    op.execute("ALTER TABLE usage RENAME TO usage_before")
    op.execute(f"CREATE TABLE usage (LIKE usage_before INCLUDING DEFAULTS) {partitioning}")
    if partitioning:
        op.execute(f"CREATE TABLE {DEFAULT} PARTITION OF usage DEFAULT")
        for begin_us, _ in months_of(connection, "usage_before"):
            make_partitions(connection, begin_us, months_ahead=0)
        make_partitions(connection, time.time_ns() // 1000)
    op.execute("INSERT INTO usage SELECT * FROM usage_before")
    op.execute("DROP TABLE usage_before")
    op.create_primary_key("pk_usage", "usage", ["request_id"])
    for name, columns in INDEXES.items():
        op.create_index(name, "usage", columns)
