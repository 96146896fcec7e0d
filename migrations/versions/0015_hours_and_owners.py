"""Hourly sums by project, and which user owned a key since when.

`project_hour` is filled from the hours by key, a UTC day at a time, also where the rows are detached. Code
that still runs writes hours by key and knows none by project: the background worker makes those of the last
days anew (ledger/day_sums.py).

`key_ownership` is written by triggers on `api_key`, so whoever changes an owner, by whatever way, leaves a
trace: the spans are what usage by user is told from. Owners of before the migration count from the beginning.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

DAY_US: Final = 86_400_000_000
KEY: Final = ("tenant_id", "project_id", "model", "endpoint")
COUNTS: Final = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")

FILL: Final = (
    f"INSERT INTO project_hour (hour_us, {', '.join(KEY)}, {', '.join(COUNTS)})"  # noqa: S608 (our own names)
    f" SELECT hour_us, {', '.join(KEY)}, {', '.join(f'sum({name})' for name in COUNTS)} FROM usage_hour"
    f" WHERE hour_us >= :day AND hour_us < :until GROUP BY hour_us, {', '.join(KEY)}"
)
CLOCK_US: Final = {
    "postgresql": "CAST(extract(epoch FROM now()) * 1000000 AS BIGINT)",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
}
BEGIN: Final = (
    "INSERT INTO key_ownership (api_key_id, from_us, tenant_id, user_id)"
    " SELECT {key}.id, {from_us}, {key}.tenant_id, {key}.user_id {of} WHERE {key}.user_id IS NOT NULL"
)
END: Final = "UPDATE key_ownership SET until_us = {now} WHERE api_key_id = NEW.id AND until_us IS NULL"
# Moved twice within one tick of the clock, a key is the latest owner's.
ONCE: Final = "ON CONFLICT (api_key_id, from_us) DO UPDATE SET user_id = excluded.user_id, until_us = NULL"
MOVE: Final = f"{END}; {BEGIN.format(key='NEW', from_us='{now}', of='')} {ONCE};"
MAKE: Final = f"{BEGIN.format(key='NEW', from_us='0', of='')};"
TRIGGERS: Final = {"made": ("INSERT", MAKE), "moved": ("UPDATE OF user_id", MOVE)}


def upgrade() -> None:
    """Make the tables, fill them, and let the triggers go on."""
    op.create_table(
        "project_hour",
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in KEY),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("hour_us", *KEY, name="pk_project_hour"),
        sqlite_with_rowid=False,
    )
    day_us = _next_day(0)
    while day_us is not None:
        op.get_bind().execute(sa.text(FILL), {"day": day_us, "until": day_us + DAY_US})
        day_us = _next_day(day_us + DAY_US)
    op.create_table(
        "key_ownership",
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", "from_us", name="pk_key_ownership"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_key.id"], name="fk_key_ownership_api_key_id"),
    )
    op.create_index("ix_key_ownership_tenant_id", "key_ownership", ["tenant_id"])
    op.execute(BEGIN.format(key="api_key", from_us="0", of="FROM api_key"))
    dialect = op.get_bind().dialect.name
    for name, (event, body) in TRIGGERS.items():
        work = body.replace("{now}", CLOCK_US[dialect])
        trigger = f"CREATE TRIGGER key_ownership_{name} AFTER {event} ON api_key"
        changed = " WHEN (OLD.user_id IS DISTINCT FROM NEW.user_id)" if event != "INSERT" else ""
        if dialect == "postgresql":
            op.execute(
                f"CREATE FUNCTION key_ownership_{name}() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN {work} RETURN NULL; END $$"
            )
            op.execute(f"{trigger} FOR EACH ROW{changed} EXECUTE FUNCTION key_ownership_{name}()")
        else:
            changed = changed.replace("IS DISTINCT FROM", "IS NOT")
            op.execute(f"{trigger} FOR EACH ROW{changed} BEGIN {work} END")


def downgrade() -> None:
    """Drop them again; who owned a key before its owner of now is forgotten."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER key_ownership_{name}{' ON api_key' if is_postgresql else ''}")
        if is_postgresql:
            op.execute(f"DROP FUNCTION key_ownership_{name}()")
    op.drop_table("key_ownership")
    op.drop_table("project_hour")


def _next_day(from_us: int) -> int | None:
    query = sa.text("SELECT min(hour_us) FROM usage_hour WHERE hour_us >= :from_us")
    hour_us: int | None = op.get_bind().execute(query, {"from_us": from_us}).scalar_one()
    return None if hour_us is None else hour_us - hour_us % DAY_US
