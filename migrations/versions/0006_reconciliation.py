"""The choices of a call, which an engine's prompt counter goes by; engines' samples, and how the book stood
to them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

POINT_COLUMNS = (
    "asked_us",
    "since_us",
    "engine_prompt_tokens",
    "engine_generation_tokens",
    "calls",
    "unknown_calls",
    "prompt_tokens",
    "folded_prompt_tokens",
    "completion_tokens",
    "unsure_prompt_tokens",
    "untold_tokens",
    "before_prompt_tokens",
    "before_generation_tokens",
    "after_prompt_tokens",
    "after_generation_tokens",
    "crossing_unknown_calls",
    "checked_us",
)


def upgrade() -> None:
    """Rows of usage from before are taken to have one choice."""
    op.add_column("usage", sa.Column("choices_per_prompt", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "engine_sample",
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("engine_started_us", sa.BigInteger(), nullable=False),
        sa.Column("counting_since_us", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("generation_tokens", sa.BigInteger(), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("backend", "model", "at_us", name="pk_engine_sample"),
    )
    op.create_table(
        "reconciliation_point",
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("engine_started_us", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in POINT_COLUMNS),
        sa.PrimaryKeyConstraint(
            "backend", "model", "engine_started_us", "at_us", name="pk_reconciliation_point"
        ),
    )
    op.create_index("ix_reconciliation_point_at_us", "reconciliation_point", ["at_us"])


def downgrade() -> None:
    """Drop them again."""
    op.drop_table("reconciliation_point")
    op.drop_table("engine_sample")
    op.drop_column("usage", "choices_per_prompt")
