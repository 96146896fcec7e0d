"""A book of many calls, made inside PostgreSQL: the same calls at each run.

One tenant of weight makes half of the calls, with 2,000 keys in 50 projects; nineteen others share the rest,
with 20 keys in two projects each. Half of the keys are users', 200 of them in the tenant of weight. Calls are
spread over 60 days. Keys are used unevenly (the busiest tenth
makes a third of the calls) and each calls three of twelve models, one of them most of the time. Of the models
two embed, one has no price, one is priced in another currency, and all priced ones change their price in
mid-month, in the middle of an hour. Some calls ended unresolved.

The rollups are made of the rows, in SQL that is not posting's: what posting writes is for the tests, and
`metergate ledger verify` can be run on this book as on any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import prices, tenancy
from ledger.database import Database
from ledger.money import Rates
from ledger.partitions import ensure_partitions
from ledger.periods import DAY_US, HOUR_US, month_span
from ledger.secret_key import pepper
from ledger.setting import Secret
from ledger.settings import LedgerSettings

TENANTS: Final = 20
PROJECTS: Final = 50
KEYS: Final = 2_000
PROJECTS_OF_OTHERS: Final = 2
KEYS_OF_OTHERS: Final = 20
USERS: Final = 200
MODELS: Final = 12
SECRET: Final = Secret("no key of this book opens anything")
DAYS: Final = 60
MONTH: Final = "2026-10"
"""The month that reports ask for: the last of the days are its."""

_EMBEDDING: Final = (10, 11)
_UNPRICED: Final = 9
_EURO: Final = 8


@dataclass(frozen=True, slots=True)
class Book:
    """What is there. `tenant_id` is the one of weight, `other_tenant_id` one of the others."""

    tenant_id: str
    other_tenant_id: str
    rows: dict[str, int]


async def make(url: str, calls: int) -> Book:
    """Fills an empty, migrated ledger."""
    month = month_span(MONTH)
    from_us = month[1] - DAYS * DAY_US
    database = Database(url)
    try:
        async with database.write() as session:
            await _populate(session, from_us, month)
    finally:
        await database.close()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET statement_timeout = 0")
        await _fill(connection, calls, from_us, month[1])
    finally:
        await connection.close()
    return await find(url)


async def find(url: str) -> Book:
    """What `make` has made before."""
    connection = await asyncpg.connect(url)
    try:
        first, second = await connection.fetch(
            "SELECT id FROM tenant WHERE name IN ('tenant 0', 'tenant 1') ORDER BY name"
        )
        rows = {
            name: await connection.fetchval(f"SELECT count(*) FROM {name}")
            for name in ("usage", "usage_hour", "project_hour", "usage_day", "project_day")
        }
    finally:
        await connection.close()
    return Book(first["id"], second["id"], rows)


def model(number: int) -> str:
    """The name of a model."""
    return f"org/model-{number:02d}-instruct"


async def _populate(session: AsyncSession, from_us: int, month: tuple[int, int]) -> None:
    """Tenants, projects, a key in each, and prices."""
    await ensure_partitions(session, from_us, months_ahead=3)
    for number in range(MODELS):
        if number == _UNPRICED:
            continue
        currency = "EUR" if number == _EURO else "USD"
        rates = Rates(150_000 + number, 75_000, 0 if number in _EMBEDDING else 600_000, 20 * number)
        later = Rates(140_001 + number, 70_000, 0 if number in _EMBEDDING else 590_000, 20 * number)
        await prices.set_price(session, model(number), rates, from_us, currency=currency, from_us=from_us)
        await prices.set_price(
            session,
            model(number),
            later,
            from_us,
            currency=currency,
            from_us=month[0] + 14 * DAY_US + 11 * HOUR_US + 1_234_567_890,
        )
    secret = pepper(LedgerSettings(secret_key=SECRET))
    for number in range(TENANTS):
        tenant = await tenancy.create_tenant(session, f"tenant {number}", from_us)
        for place in range(PROJECTS if number == 0 else PROJECTS_OF_OTHERS):
            project = await tenancy.create_project(session, tenant.id, f"project {place}", from_us)
            await tenancy.create_api_key(session, secret, project.id, f"{number}/{place}", from_us)


# A number from 0 to 1 for each call and purpose, the same at each run.
_CHANCE: Final = (
    "CREATE FUNCTION pg_temp.chance(n bigint, what bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS"
    " $$ SELECT (hashint8extended(n, what) & 2147483647) / 2147483648.0 $$"
)
_DRAWN_FROM: Final = f"""
INSERT INTO api_key SELECT (jsonb_populate_record(k, jsonb_build_object('id', k.id || '-' || turn, 'digest',
  sha256((k.id || turn)::bytea), 'name', tenant || '/' || place + turn * projects, 'user_id', CASE turn % 2
  WHEN 0 THEN 'user-' || tenant || '-' || (place + turn * projects) % {USERS} END, 'service_account_id',
  CASE turn % 2 WHEN 1 THEN k.service_account_id END))).*
  FROM (SELECT *, split_part(name, '/', 1)::int AS tenant, split_part(name, '/', 2)::int AS place,
    (count(*) OVER (PARTITION BY tenant_id))::int AS projects FROM api_key) AS first
  JOIN api_key AS k USING (id) CROSS JOIN generate_series(1, {KEYS // PROJECTS} - 1) AS turn
  WHERE place + turn * projects < CASE tenant WHEN 0 THEN {KEYS} ELSE {KEYS_OF_OTHERS} END;
CREATE TEMP TABLE caller AS SELECT split_part(name, '/', 1)::int AS tenant,
  split_part(name, '/', 2)::int AS place, tenant_id, project_id, id AS api_key_id FROM api_key;
CREATE UNIQUE INDEX ON caller (tenant, place);
CREATE TEMP TABLE model AS SELECT number, 'org/model-' || lpad(number::text, 2, '0') || '-instruct' AS name,
  number IN {_EMBEDDING} AS embeds, max(v.effective_from_us) AS changes_us,
  min(v.id) FILTER (WHERE v.effective_from_us = $FROM) AS before_id,
  min(v.id) FILTER (WHERE v.effective_from_us > $FROM) AS after_id
  FROM generate_series(0, {MODELS - 1}) AS number LEFT JOIN price_version AS v
  ON v.model = 'org/model-' || lpad(number::text, 2, '0') || '-instruct' GROUP BY number;
ANALYZE
"""
_CALLS: Final = f"""
WITH drawn AS (
  SELECT n, $3::bigint + n * $4::bigint + floor(pg_temp.chance(n, 7) * $4)::bigint AS started_us,
    CASE WHEN n % 2 = 0 THEN 0 ELSE 1 + floor(pg_temp.chance(n, 1) * {TENANTS - 1})::int END AS tenant,
    floor(power(pg_temp.chance(n, 2), 2)
      * CASE WHEN n % 2 = 0 THEN {KEYS} ELSE {KEYS_OF_OTHERS} END)::int AS place,
    CASE WHEN pg_temp.chance(n, 9) < 0.7 THEN 0 WHEN pg_temp.chance(n, 9) < 0.9 THEN 1 ELSE 4 END AS taste,
    pg_temp.chance(n, 3) < 0.004 AS is_lost, pg_temp.chance(n, 4) AS warmth,
    50 + floor(pg_temp.chance(n, 5) * 2000)::bigint AS prompt,
    1 + floor(pg_temp.chance(n, 6) * 500)::bigint AS completion
  FROM generate_series($1::bigint, $2::bigint) AS n
), called AS (
  SELECT n, started_us, is_lost, c.tenant_id, c.project_id, c.api_key_id, m.*,
    CASE WHEN is_lost THEN 0 ELSE prompt END AS prompt,
    CASE WHEN is_lost THEN 0 ELSE floor(prompt * warmth * warmth)::bigint END AS cached,
    CASE WHEN is_lost OR m.embeds THEN 0 ELSE completion END AS completion
  FROM drawn JOIN caller AS c USING (tenant, place) JOIN model AS m
    ON m.number = (place * 5 + taste) % {MODELS}
)
INSERT INTO usage (request_id, started_us, ended_us, first_byte_us, tenant_id, project_id, api_key_id, model,
    backend, endpoint, streamed, ending, http_status, usage_source, prompt_tokens, cached_prompt_tokens,
    completion_tokens, amount_picos, currency, price_version_id, posted_us, end_user, choices_per_prompt)
SELECT 'req_' || lpad(to_hex(started_us), 14, '0') || lpad(to_hex(n), 18, '0'),
  started_us, started_us + 1500000, started_us + 200000, c.tenant_id, project_id, api_key_id, c.name,
  'http://10.0.0.1:8000', CASE WHEN embeds THEN 'embeddings' ELSE 'chat.completions' END,
  NOT embeds, CASE WHEN is_lost THEN 'killed' ELSE 'finished' END, 200,
  CASE WHEN is_lost THEN 'unresolved' WHEN pg_temp.chance(n, 8) < 0.03 THEN 'running' ELSE 'final' END,
  prompt, cached, completion,
  CASE WHEN is_lost OR v.id IS NULL THEN 0 ELSE
    (prompt - cached)::numeric * v.input_micros_per_mtok + cached::numeric * v.cached_input_micros_per_mtok
    + completion::numeric * v.output_micros_per_mtok + v.request_micros::numeric * 1000000 END,
  coalesce(v.currency, 'USD'), v.id, started_us + 2000000, '', 1
FROM called AS c LEFT JOIN price_version AS v
  ON v.id = CASE WHEN started_us < c.changes_us THEN c.before_id ELSE c.after_id END
"""
_ROLLUPS: Final = (
    "INSERT INTO usage_hour SELECT started_us - started_us % 3600000000, tenant_id, project_id, api_key_id,"
    " model, endpoint, currency, usage_source, count(*), sum(prompt_tokens), sum(cached_prompt_tokens),"
    " sum(completion_tokens), sum(amount_picos) FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1",
    "INSERT INTO project_hour SELECT hour_us, tenant_id, project_id, model, endpoint, sum(calls),"
    " sum(prompt_tokens), sum(cached_prompt_tokens), sum(completion_tokens) FROM usage_hour"
    " GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, hashtext(project_id || model)",
    "INSERT INTO usage_day SELECT started_us - started_us % 86400000000, tenant_id, project_id, api_key_id,"
    " model, endpoint, CASE WHEN usage_source = 'unresolved' THEN '' ELSE coalesce(price_version_id, '') END,"
    " count(*), sum(prompt_tokens), sum(cached_prompt_tokens), sum(completion_tokens) FROM usage"
    " GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, hashtext(api_key_id || model)",
    "INSERT INTO project_day SELECT day_us, tenant_id, project_id, model, endpoint, price_version_id,"
    " sum(calls), sum(prompt_tokens), sum(cached_prompt_tokens), sum(completion_tokens) FROM usage_day"
    " GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, hashtext(project_id || model)",
)
_BATCH: Final = 500_000


async def _fill(
    connection: asyncpg.Connection[asyncpg.Record], calls: int, from_us: int, until_us: int
) -> None:
    """Rows, then rollups of them, as autovacuum leaves such tables."""
    await connection.execute(_CHANCE)
    await connection.execute(_DRAWN_FROM.replace("$FROM", str(from_us)))
    step_us = (until_us - from_us) // calls
    for begin in range(0, calls, _BATCH):
        end = min(begin + _BATCH, calls) - 1
        await connection.execute(_CALLS, begin, end, from_us, step_us)
    await connection.execute("SET work_mem = '256MB'")
    for statement in _ROLLUPS:
        await connection.execute(statement)
    await connection.execute("VACUUM (ANALYZE)")
