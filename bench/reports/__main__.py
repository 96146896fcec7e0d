"""The command line of the reports: makes the book, asks for everything, prints and saves what it found, and
fails where sums do not tie.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import httpx

from bench.edges.lines import Line, document, markdown
from bench.machine import machine
from bench.processes import cpu_s, prefer_sessions, priority, tree
from bench.reports import book
from bench.reports.asking import Asker, control_plane, make_key
from bench.reports.groupings import Asked, summary, table
from ledger.periods import month_span
from race.postgresql import make_template, named, server

CALLS: Final = 10_000_000
ROUNDS: Final = 5
P95_MS_MAX: Final = 100.0
PAGES: Final = (7, 31)
"""Days of a page: OpenAI's unless told, and its most. A page of many groups ends earlier, and is the same."""
GROUPINGS: Final = {
    "usage/completions": ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier"),
    "usage/embeddings": ("project_id", "user_id", "api_key_id", "model"),
    "costs": ("project_id", "line_item", "api_key_id"),
}
_RESULTS: Final = Path("bench-results")
_BEGIN_S, _END_S = (at_us // 1_000_000 for at_us in month_span(book.MONTH))
_MONTH: Final = [("start_time", str(_BEGIN_S)), ("end_time", str(_END_S))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 where sums do not tie."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="how many calls the book has")
    parser.add_argument(
        "--ledger", metavar="URL", help="a book that an earlier run has made, and not a new one"
    )
    parser.add_argument("--results", type=Path, default=_RESULTS, help="the folder for what was found")
    asked = parser.parse_args(arguments)
    about: dict[str, object] = {"date": datetime.now(UTC).isoformat(timespec="seconds")} | machine()
    with _book(asked.ledger, asked.calls) as (url, made), priority():
        prefer_sessions((asyncio.run(_postmaster(url)),))
        about["rows"] = ", ".join(f"{name} {count:,}" for name, count in made.rows.items())
        lines, months, untied = _measure(url, made)
    report = markdown(about, lines) + "\n" + table(months)
    print(report)
    asked.results.mkdir(parents=True, exist_ok=True)
    (asked.results / "reports.md").write_text(report)
    (asked.results / "reports.json").write_text(json.dumps(document(about, lines), indent=2) + "\n")
    for fault in untied:
        print(fault, file=sys.stderr)
    return 1 if untied else 0


@contextmanager
def _book(url: str | None, calls: int) -> Iterator[tuple[str, book.Book]]:
    if url is not None:
        yield url, asyncio.run(book.find(url))
        return
    with server() as running:
        made_url = named(running.url, make_template(running.url, "reports"))
        began_s = time.monotonic()
        made = asyncio.run(book.make(made_url, calls))
        print(f"{calls:,} calls are made ({time.monotonic() - began_s:.0f} s)", file=sys.stderr, flush=True)
        yield made_url, made


async def _postmaster(url: str) -> int:
    """The server's process, which is on this machine."""
    connection = await asyncpg.connect(url)
    try:
        folder = Path(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close()
    return int((folder / "postmaster.pid").read_text().split("\n")[0])


def _measure(url: str, made: book.Book) -> tuple[list[Line], list[Asked], list[str]]:
    with tempfile.TemporaryDirectory(prefix="metergate-reports-") as folder:
        data = Path(folder)
        keys = {
            name: asyncio.run(make_key(url, book.SECRET, tenant_id))
            for name, tenant_id in (("of weight", made.tenant_id), ("small", made.other_tenant_id))
        }
        with control_plane(url, data, book.SECRET) as (address, plane):
            pids = (plane, asyncio.run(_postmaster(url)))
            lines: list[Line] = []
            asked: list[Asked] = []
            untied: list[str] = []
            for name, key in keys.items():
                headers = {"Authorization": f"Bearer {key}"}
                with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
                    asker = Asker(client)
                    months, faults = _months(asker, pids, name, asyncio.run(_raw(url, made, name)))
                    asked += months
                    untied += faults
                    lines += [*summary(name, months, P95_MS_MAX), *_hours(asker, name)]
    return lines, asked, untied


def _questions() -> Iterator[tuple[str, tuple[str, ...]]]:
    for product, names in GROUPINGS.items():
        for size in range(len(names) + 1):
            for by in itertools.combinations(names, size):
                yield product, by


def _page(days: int) -> list[tuple[str, str]]:
    return [*_MONTH, ("limit", str(days))]


def _months(
    asker: Asker, pids: Sequence[int], tenant: str, raw: dict[str, Counter[str]]
) -> tuple[list[Asked], list[str]]:
    """A month by day, in every grouping: pages, and the whole way; and what of it does not tie. `pids`: of
    control plane and database.
    """
    found, untied = [], []
    for product, by in _questions():
        grouped = [("group_by[]", name) for name in by]
        pages = {}
        for limit in PAGES:
            before = [cpu_s(tree(pid)) for pid in pids]
            pages[limit] = _times(asker, product, [*_page(limit), *grouped])
            after = [cpu_s(tree(pid)) for pid in pids]
        plane_ms, database_ms = (
            (end_s - begin_s) * 1000 / (ROUNDS + 1) for begin_s, end_s in zip(before, after, strict=True)
        )
        walk, sums = asker.walk(product, [*_page(max(PAGES)), *grouped])
        found.append(Asked(tenant, product, by, pages, walk, (plane_ms, database_ms)))
        if sums != raw[product]:
            untied.append(
                f"tenant {tenant}, {product} by {by or 'nothing'}: {sums}, the rows: {raw[product]}"
            )
    return found, untied


def _hours(asker: Asker, tenant: str) -> list[Line]:
    """The other widths: the page unless told, and the longest."""
    lines = []
    for width, limit in (("1h", 24), ("1h", 168), ("1m", 60), ("1m", 1440)):
        for by in ((), ("model",), ("project_id",), ("project_id", "model"), ("user_id",), ("api_key_id",)):
            asked = [*_MONTH, ("bucket_width", width), ("limit", str(limit))]
            times = _times(asker, "usage/completions", [*asked, *(("group_by[]", name) for name in by)])
            name = f"{tenant}, {limit} buckets of {width}, by {', '.join(by) or 'nothing'}"
            is_aimed = width == "1h" and not {"user_id", "api_key_id"} & set(by)
            lines.append(Line("reports", name, name, times, 1, at_most=P95_MS_MAX if is_aimed else None))
    return lines


def _times(asker: Asker, product: str, asked: Sequence[tuple[str, str]]) -> tuple[float, ...]:
    """How long a page takes, again and again; the first warms caches."""
    return tuple(asker.page(product, asked)[0] for _ in range(ROUNDS + 1))[1:]


async def _raw(url: str, made: book.Book, tenant: str) -> dict[str, Counter[str]]:
    """The month's sums, over the usage rows themselves."""
    tenant_id = made.tenant_id if tenant == "of weight" else made.other_tenant_id
    begin_us, end_us = month_span(book.MONTH)
    where = "FROM usage WHERE tenant_id = $1 AND started_us >= $2 AND started_us < $3"
    counts = (
        "SELECT count(*) AS num_model_requests, sum(prompt_tokens) AS input_tokens,"
        f" sum(cached_prompt_tokens) AS input_cached_tokens, sum(completion_tokens) AS output_tokens {where}"
    )
    connection = await asyncpg.connect(url)
    try:
        given = (tenant_id, begin_us, end_us)
        raw = {}
        for product, condition in (("usage/completions", "<>"), ("usage/embeddings", "=")):
            row = await connection.fetchrow(f"{counts} AND endpoint {condition} 'embeddings'", *given)
            assert row is not None
            raw[product] = Counter({name: int(value) for name, value in row.items()})
        for name in ("input_cached_tokens", "output_tokens"):
            del raw["usage/embeddings"][name]
        rows = await connection.fetch(
            f"SELECT lower(currency) AS currency, sum(amount_picos) AS picos {where}"
            " AND price_version_id IS NOT NULL GROUP BY 1",
            *given,
        )
        raw["costs"] = Counter({row["currency"]: int(row["picos"]) for row in rows})
    finally:
        await connection.close()
    return raw


if __name__ == "__main__":
    sys.exit(main())
