"""Answers kept for idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them: nothing is kept yet."""
    op.create_table(
        "kept_answer",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_kept_answer"),
    )
    op.create_index("ix_kept_answer_created_us", "kept_answer", ["created_us"])


def downgrade() -> None:
    """Drop them: a request that is sent again is done again."""
    op.drop_table("kept_answer")
