"""Pure: the columns of `usage` and of its rollups as posting writes them, in their order, with their types in
PostgreSQL.

Written down a second time, since who posts does without the tables and what they import; a test holds them to
those (tests/architecture/test_tables.py).
"""

from typing import Final

USAGE: Final = {
    "request_id": "VARCHAR",
    "started_us": "BIGINT",
    "ended_us": "BIGINT",
    "first_byte_us": "BIGINT",
    "tenant_id": "VARCHAR",
    "project_id": "VARCHAR",
    "api_key_id": "VARCHAR",
    "model": "VARCHAR",
    "backend": "VARCHAR",
    "endpoint": "VARCHAR",
    "streamed": "BOOLEAN",
    "ending": "VARCHAR",
    "http_status": "INTEGER",
    "usage_source": "VARCHAR",
    "prompt_tokens": "BIGINT",
    "cached_prompt_tokens": "BIGINT",
    "completion_tokens": "BIGINT",
    "amount_picos": "NUMERIC(38, 0)",
    "currency": "VARCHAR(3)",
    "price_version_id": "VARCHAR",
    "posted_us": "BIGINT",
    "end_user": "VARCHAR",
    "choices_per_prompt": "INTEGER",
}

SUMS: Final = {
    "calls": "BIGINT",
    "prompt_tokens": "BIGINT",
    "cached_prompt_tokens": "BIGINT",
    "completion_tokens": "BIGINT",
    "amount_picos": "NUMERIC(38, 0)",
}
HOUR_KEY: Final = {
    "hour_us": "BIGINT",
    "tenant_id": "VARCHAR",
    "project_id": "VARCHAR",
    "api_key_id": "VARCHAR",
    "model": "VARCHAR",
    "endpoint": "VARCHAR",
    "currency": "VARCHAR(3)",
    "usage_source": "VARCHAR",
}
USAGE_HOUR: Final = {**HOUR_KEY, **SUMS}

COUNTS: Final = {name: kind for name, kind in SUMS.items() if name != "amount_picos"}
PROJECT_HOUR_KEY: Final = {
    name: kind for name, kind in HOUR_KEY.items() if name not in ("api_key_id", "currency", "usage_source")
}
PROJECT_HOUR: Final = {**PROJECT_HOUR_KEY, **COUNTS}

DAY_KEY: Final = {
    "day_us": "BIGINT",
    "tenant_id": "VARCHAR",
    "project_id": "VARCHAR",
    "api_key_id": "VARCHAR",
    "model": "VARCHAR",
    "endpoint": "VARCHAR",
    "price_version_id": "VARCHAR",
}
USAGE_DAY: Final = {**DAY_KEY, **COUNTS}
PROJECT_DAY_KEY: Final = {name: kind for name, kind in DAY_KEY.items() if name != "api_key_id"}
PROJECT_DAY: Final = {**PROJECT_DAY_KEY, **COUNTS}
