"""People: users, memberships, invites, password resets, sessions, and the throttle of logins."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = (
    "login_rate",
    "user_session",
    "password_reset",
    "invite",
    "project_membership",
    "membership",
    "user_account",
)


def upgrade() -> None:
    """Make the tables."""
    _users()
    _memberships()
    _ways_in()
    op.create_table(
        "user_session",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("next_digest", sa.LargeBinary(), nullable=True),
        sa.Column("next_us", sa.BigInteger(), nullable=True),
        sa.Column("previous_digest", sa.LargeBinary(), nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("turned_us", "created_us", "seen_us", "expires_us")
        ),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("user_agent", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_user_session"),
        sa.UniqueConstraint("digest", name="uq_user_session_digest"),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name="fk_user_session_user_id"),
    )
    op.create_index("ix_user_session_user_id", "user_session", ["user_id"])
    op.create_index("ix_user_session_expires_us", "user_session", ["expires_us"])
    op.create_table(
        "login_rate",
        sa.Column("bucket", sa.LargeBinary(), nullable=False),
        sa.Column("tat_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name="pk_login_rate"),
    )
    op.create_index("ix_login_rate_tat_us", "login_rate", ["tat_us"])


def _users() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("is_operator", sa.Boolean(), nullable=False),
        sa.Column("credential_hash", sa.String(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("last_login_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_user_account"),
        sa.UniqueConstraint("email", name="uq_user_account_email"),
    )


def _memberships() -> None:
    op.create_table(
        "membership",
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "tenant_id", name="pk_membership"),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name="fk_membership_user_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_membership_tenant_id"),
    )
    op.create_index("ix_membership_tenant_id", "membership", ["tenant_id", "added_us", "user_id"])
    op.create_table(
        "project_membership",
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "project_id", name="pk_project_membership"),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name="fk_project_membership_user_id"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_project_membership_project_id"),
    )
    op.create_index(
        "ix_project_membership_project_id", "project_membership", ["project_id", "added_us", "user_id"]
    )


def _ways_in() -> None:
    op.create_table(
        "invite",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("projects", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("accepted_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_invite"),
        sa.UniqueConstraint("digest", name="uq_invite_digest"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_invite_tenant_id"),
    )
    op.create_index("ix_invite_tenant_id", "invite", ["tenant_id", "created_us", "id"])
    op.create_table(
        "password_reset",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_password_reset"),
        sa.UniqueConstraint("digest", name="uq_password_reset_digest"),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name="fk_password_reset_user_id"),
    )
    op.create_index("ix_password_reset_user_id", "password_reset", ["user_id"])
    op.create_index("ix_password_reset_expires_us", "password_reset", ["expires_us"])


def downgrade() -> None:
    """Drop them again."""
    for table in TABLES:
        op.drop_table(table)
