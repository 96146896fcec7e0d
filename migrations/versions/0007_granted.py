"""What each holder's last exchange granted, so that an answer that was lost can be asked for again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

AMOUNT = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")
COLUMNS = ("granted", "granted_turn")


def upgrade() -> None:
    """Add the columns; a lease from before says nothing of its last grant."""
    for name in COLUMNS:
        op.add_column("lease", sa.Column(name, AMOUNT, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them again."""
    for name in reversed(COLUMNS):
        op.drop_column("lease", name)
