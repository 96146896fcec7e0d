"""What a tenant's calls do while the ledger is away."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every tenant fails closed, as before; so do those that older code still makes."""
    column = sa.Column("outage_policy", sa.String(), nullable=False, server_default="fail_closed")
    op.add_column("tenant", column)


def downgrade() -> None:
    """Drop it again."""
    op.drop_column("tenant", "outage_policy")
