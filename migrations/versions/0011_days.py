"""Rollups by the day, with keys and without: filled from the rows, a UTC day at a time.

A day whose rows are detached (ledger/partitions.py) is filled from its hourly sums: an hour has the price
version that its amount comes to. Where several rated one hour together none does, and its counts are kept
without a price: attach the month before, or read its costs from `metergate usage show`.

Code that still runs writes rows and hours meanwhile, and knows no days: the background worker makes those of
the last days anew (ledger/days.py).
"""

import logging
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
KEY = ("tenant_id", "project_id", "api_key_id", "model", "endpoint", "price_version_id")
COUNTS = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")
_KEYS, _COUNTS = ", ".join(KEY), ", ".join(COUNTS)
_PROJECT_KEYS = _KEYS.replace("api_key_id, ", "")

_log = logging.getLogger("metergate.migrations")

FROM_ROWS = (
    f"INSERT INTO usage_day (day_us, {_KEYS}, {_COUNTS})"  # noqa: S608 (our own names)
    " SELECT CAST(:day AS BIGINT), tenant_id, project_id, api_key_id, model, endpoint, due_by, count(*),"
    " sum(prompt_tokens), sum(cached_prompt_tokens), sum(completion_tokens) FROM (SELECT usage.*,"
    " CASE WHEN usage_source = 'unresolved' THEN '' ELSE coalesce(price_version_id, '') END AS due_by"
    " FROM usage WHERE started_us >= :day AND started_us < :until) AS rated"
    " GROUP BY tenant_id, project_id, api_key_id, model, endpoint, due_by"
)
FROM_DAYS = (
    f"INSERT INTO project_day (day_us, {_PROJECT_KEYS}, {_COUNTS})"  # noqa: S608
    f" SELECT day_us, {_PROJECT_KEYS}, {', '.join(f'sum({name})' for name in COUNTS)}"
    f" FROM usage_day WHERE day_us = :day GROUP BY day_us, {_PROJECT_KEYS}"
)


def upgrade() -> None:
    """Make the tables, and fill them."""
    for name, key in (("usage_day", KEY), ("project_day", [name for name in KEY if name != "api_key_id"])):
        op.create_table(
            name,
            sa.Column("day_us", sa.BigInteger(), nullable=False),
            *(sa.Column(column, sa.String(), nullable=False) for column in key),
            *(sa.Column(column, sa.BigInteger(), nullable=False) for column in COUNTS),
            sa.PrimaryKeyConstraint("day_us", *key, name=f"pk_{name}"),
            sqlite_with_rowid=False,
        )
    day_us = _next_day(0)
    while day_us is not None:
        _fill(day_us)
        day_us = _next_day(day_us + DAY_US)


def downgrade() -> None:
    """Drop them again."""
    op.drop_table("project_day")
    op.drop_table("usage_day")


def _next_day(from_us: int) -> int | None:
    query = sa.text("SELECT min(hour_us) FROM usage_hour WHERE hour_us >= :from_us")
    hour_us = op.get_bind().execute(query, {"from_us": from_us}).scalar_one()
    return None if hour_us is None else hour_us - hour_us % DAY_US


def _fill(day_us: int) -> None:
    connection = op.get_bind()
    day = {"day": day_us, "until": day_us + DAY_US}
    connection.execute(sa.text(FROM_ROWS), day)
    calls = "SELECT coalesce(sum(calls), 0) FROM"
    by_rows = connection.execute(sa.text(f"{calls} usage_day WHERE day_us = :day"), day).scalar_one()
    by_hours = connection.execute(
        sa.text(f"{calls} usage_hour WHERE hour_us >= :day AND hour_us < :until"), day
    ).scalar_one()
    if by_rows != by_hours:
        connection.execute(sa.text("DELETE FROM usage_day WHERE day_us = :day"), day)
        _fill_from_hours(day)
    connection.execute(sa.text(FROM_DAYS), day)


def _fill_from_hours(day: dict[str, int]) -> None:
    connection = op.get_bind()
    hours = connection.execute(
        sa.text("SELECT * FROM usage_hour WHERE hour_us >= :day AND hour_us < :until"), day
    ).mappings()
    sums: dict[tuple[str, ...], list[int]] = {}
    for hour in hours:
        version_id = _version_of(hour)
        key = (*(str(hour[name]) for name in KEY[:-1]), version_id)
        counts = sums.setdefault(key, [0, 0, 0, 0])
        for place, name in enumerate(COUNTS):
            counts[place] += hour[name]
    insert = sa.text(
        f"INSERT INTO usage_day (day_us, {_KEYS}, {_COUNTS}) VALUES"  # noqa: S608
        f" (:day, {', '.join(f':{name}' for name in (*KEY, *COUNTS))})"
    )
    for key, counts in sums.items():
        connection.execute(
            insert,
            {"day": day["day"]} | dict(zip(KEY, key, strict=True)) | dict(zip(COUNTS, counts, strict=True)),
        )


def _version_of(hour: Any) -> str:
    """What rated a sum of which the rows are away: the version that its amount comes to."""
    if not hour["amount_picos"] and hour["usage_source"] == "unresolved":
        return ""
    query = sa.text(
        "SELECT * FROM price_version WHERE model = :model AND currency = :currency"
        " AND (tenant_id IS NULL OR tenant_id = :tenant_id) AND effective_from_us < :until"
        " ORDER BY tenant_id IS NOT NULL DESC, effective_from_us DESC"
    )
    given = {name: hour[name] for name in ("model", "currency", "tenant_id")}
    versions = op.get_bind().execute(query, given | {"until": hour["hour_us"] + HOUR_US}).mappings()
    for version in versions:
        cached = hour["cached_prompt_tokens"]
        picos = (
            (hour["prompt_tokens"] - cached) * version["input_micros_per_mtok"]
            + cached * version["cached_input_micros_per_mtok"]
            + hour["completion_tokens"] * version["output_micros_per_mtok"]
            + hour["calls"] * version["request_micros"] * 1_000_000
        )
        if picos == hour["amount_picos"]:
            return str(version["id"])
    if hour["amount_picos"]:
        _log.warning(
            "%s, %s, hour %d: several prices rated it, and its rows are detached: its day has no costs of it",
            hour["tenant_id"],
            hour["model"],
            hour["hour_us"],
        )
    return ""
