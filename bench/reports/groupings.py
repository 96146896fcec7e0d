"""Pure: how long a month by day took, grouping by grouping, as lines and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from bench.edges.lines import Line
from bench.figures import percentile


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: how long its first page took, by how many days were asked for, and each page of the whole
    month's walk, in milliseconds; and the CPU time of a page of the most days, of control plane and
    database.
    """

    tenant: str
    product: str
    by: tuple[str, ...]
    pages: dict[int, tuple[float, ...]]
    walk: Sequence[float]
    cpu_ms: tuple[float, float]


def summary(tenant: str, months: Sequence[Asked], p95_ms_max: float) -> list[Line]:
    """All groupings together: first pages, and every page of every walk."""
    times = {f"a page of {days} days": [asked.pages[days] for asked in months] for days in months[0].pages}
    times["each page of the walks"] = [tuple(asked.walk) for asked in months]
    times["CPU of a page, control plane and database"] = [(sum(asked.cpu_ms),) for asked in months]
    return [
        Line(
            "reports",
            f"{tenant}, {what}, p{rank}",
            f"tenant {tenant}, {len(months)} groupings of a month by day, {what}: p{rank}, ms",
            (percentile(list(chain.from_iterable(found)), rank / 100),),
            1,
            at_most=p95_ms_max if rank == 95 else None,
        )
        for what, found in times.items()
        for rank in (50, 95)
    ]


def table(months: Sequence[Asked]) -> str:
    """Each grouping by itself, p50 / p95; CPU of control plane and database."""
    days = list(months[0].pages)
    heads = [
        "tenant",
        "product",
        "by",
        *(f"{count} days" for count in days),
        "walk: pages",
        "each",
        "all, s",
        "CPU",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * 3 + "|---:" * (len(heads) - 3) + "|"]
    for asked in months:
        cells = [asked.tenant, asked.product, ", ".join(asked.by) or "-"]
        cells += [_told(asked.pages[count]) for count in days]
        cells += [str(len(asked.walk)), _told(asked.walk), f"{sum(asked.walk) / 1000:.2f}"]
        cells.append(" + ".join(f"{each:.0f}" for each in asked.cpu_ms))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _told(times: Sequence[float]) -> str:
    return f"{percentile(list(times), 0.5):.0f} / {percentile(list(times), 0.95):.0f}"
