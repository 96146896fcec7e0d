"""How logins came out, counted."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them: nothing is counted yet."""
    op.create_table(
        "login_count",
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("outcome", name="pk_login_count"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("login_count")
