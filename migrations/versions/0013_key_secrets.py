"""Secrets of API keys, two while a rotation's grace lasts; tags of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOVE = (
    "INSERT INTO api_key_secret (api_key_id, digest, redacted, created_us, last_used_us)"
    " SELECT id, digest, redacted, created_us, last_used_us FROM api_key ORDER BY created_us, id"
)
MAKE = (
    "INSERT INTO api_key_secret (api_key_id, digest, redacted, created_us)"
    " VALUES (NEW.id, NEW.digest, NEW.redacted, NEW.created_us);"
)


def upgrade() -> None:
    """Each key's secret moves over. `api_key.digest` stays, for the code that is still running: what that
    makes a key, gets its secret from the trigger.
    """
    op.add_column("api_key", sa.Column("tags", sa.String(), nullable=True))
    op.create_table(
        "api_key_secret",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True
        ),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("redacted", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("last_used_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_key_secret"),
        sa.UniqueConstraint("digest", name="uq_api_key_secret_digest"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_key.id"], name="fk_api_key_secret_api_key_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_api_key_secret_api_key_id", "api_key_secret", ["api_key_id"])
    _make_with_keys()
    op.execute(MOVE)


def downgrade() -> None:
    """Drop them again: of every key the newest secret works, and no other."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER api_key_has_secret ON api_key")
        op.execute("DROP FUNCTION api_key_make_secret()")
    else:
        op.execute("DROP TRIGGER api_key_has_secret")
    op.drop_table("api_key_secret")
    op.drop_column("api_key", "tags")


def _make_with_keys() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION api_key_make_secret() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {MAKE} RETURN NULL; END $$"
        )
        op.execute(
            "CREATE TRIGGER api_key_has_secret AFTER INSERT ON api_key"
            " FOR EACH ROW EXECUTE FUNCTION api_key_make_secret()"
        )
        return
    op.execute(f"CREATE TRIGGER api_key_has_secret AFTER INSERT ON api_key BEGIN {MAKE} END")
