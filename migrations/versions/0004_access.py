"""What a project and a key may do: models, endpoints, addresses."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = (
    ("project", "model_permissions"),
    ("api_key", "model_permissions"),
    ("api_key", "scopes"),
    ("api_key", "networks"),
)


def upgrade() -> None:
    """Add the columns; what is there already may do everything, as before."""
    for table, name in COLUMNS:
        op.add_column(table, sa.Column(name, sa.String(), nullable=True))


def downgrade() -> None:
    """Drop them again: every key may do everything then."""
    for table, name in reversed(COLUMNS):
        op.drop_column(table, name)
