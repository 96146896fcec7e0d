"""Links of kept points, read: how engines and the ledger stand to each other over some time.

Straight to the driver: the metrics page reads this every few seconds, and does without SQLAlchemy
(docs/decisions/0017-straight-to-the-driver.md). Links are made in ledger/reconciliation/points.py.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.direct import Connection
from ledger.periods import HOUR_US
from ledger.reconciliation.arithmetic import NO_TOKENS, Edge, Point, Sums, Tokens, Window

COLUMNS: Final = (
    "backend",
    "model",
    "engine_started_us",
    "at_us",
    "asked_us",
    "since_us",
    "engine_prompt_tokens",
    "engine_generation_tokens",
    "calls",
    "unknown_calls",
    "prompt_tokens",
    "folded_prompt_tokens",
    "completion_tokens",
    "unsure_prompt_tokens",
    "untold_tokens",
    "before_prompt_tokens",
    "before_generation_tokens",
    "after_prompt_tokens",
    "after_generation_tokens",
    "crossing_unknown_calls",
    "checked_us",
)
"""Of the table `reconciliation_point`; a test holds them to it."""


@dataclass(frozen=True, slots=True)
class Link:
    """A point of a chain. `since_us`: where the one before is; its own time in the first link."""

    backend: str
    model: str
    engine_started_us: int
    asked_us: int
    since_us: int
    point: Point
    checked_us: int

    @property
    def is_first(self) -> bool:
        """Whether the comparison begins here."""
        return self.since_us == self.point.at_us


@dataclass(frozen=True, slots=True)
class Standing:
    """How an engine and the ledger stand over some time, all the engine's lives together."""

    backend: str
    model: str
    engine: Tokens = NO_TOKENS
    counted: Tokens = NO_TOKENS
    unexplained: Tokens = NO_TOKENS
    checked_us: int = 0

    @property
    def capture_ratio(self) -> float | None:
        """Of all that the engine counted, what the ledger has; None where it counted nothing."""
        return self.counted.total / self.engine.total if self.engine.total else None


async def standings(connection: Connection, since_us: int) -> list[Standing]:
    """Each engine's model over the time since an instant, as far as it was compared."""
    found: dict[tuple[str, str], Standing] = {}
    for link, window in await windows(connection, since_us):
        key = (link.backend, link.model)
        so_far = found.get(key, Standing(*key))
        found[key] = Standing(
            *key,
            so_far.engine + window.engine,
            so_far.counted + window.sums.counted,
            so_far.unexplained + window.unexplained,
            max(so_far.checked_us, link.checked_us),
        )
    return [found[key] for key in sorted(found)]


async def windows(connection: Connection, since_us: int) -> list[tuple[Link, Window]]:
    """Each chain's stretch since an instant, and its newest link; from the last link before it, if any."""
    chains: dict[tuple[str, str, int], list[list[Link]]] = defaultdict(list)
    for link in await links_from(connection, since_us - 2 * HOUR_US):
        own = chains[link.backend, link.model, link.engine_started_us]
        if not own or link.is_first:
            own.append([])
        own[-1].append(link)
    found = []
    for chain in (chain for own in chains.values() for chain in own):
        begin = max((place for place, link in enumerate(chain) if link.point.at_us <= since_us), default=0)
        stretch = chain[begin:]
        if len(stretch) > 1 and stretch[-1].point.at_us > since_us:
            found.append((stretch[-1], Window.over([link.point for link in stretch])))
    return found


async def links_from(connection: Connection, from_us: int) -> list[Link]:
    """Every link that is at an instant or after it, the oldest first."""
    rows = await connection.exec_driver_sql(
        f"SELECT {', '.join(COLUMNS)} FROM reconciliation_point"  # noqa: S608 (a number and names of ours)
        f" WHERE at_us >= {int(from_us)} ORDER BY at_us"
    )
    return [link_of(dict(zip(COLUMNS, row, strict=True))) for row in rows]


def link_of(row: Mapping[str, Any]) -> Link:
    """The link that a row is, by its columns."""
    sums = Sums(
        row["calls"],
        row["unknown_calls"],
        row["prompt_tokens"],
        row["folded_prompt_tokens"],
        row["completion_tokens"],
        row["unsure_prompt_tokens"],
        row["untold_tokens"],
    )
    edge = Edge(
        Tokens(row["before_prompt_tokens"], row["before_generation_tokens"]),
        Tokens(row["after_prompt_tokens"], row["after_generation_tokens"]),
        row["crossing_unknown_calls"],
    )
    engine = Tokens(row["engine_prompt_tokens"], row["engine_generation_tokens"])
    point = Point(row["at_us"], engine, sums, edge)
    return Link(
        row["backend"],
        row["model"],
        row["engine_started_us"],
        row["asked_us"],
        row["since_us"],
        point,
        row["checked_us"],
    )
