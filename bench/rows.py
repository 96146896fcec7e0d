"""Pure: the lines of the tables: which figure each shows, what it is called, and which step it comes from.

Rules: the first table holds what is compared, the second what tells whether to believe it. Must not know what
was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: which figure, what it says, the step that gives it, with how many decimals, and
    whether a ratio to the baseline means anything.
    """

    name: str
    title: str
    step: str
    decimals: int = 1
    ratio: bool = True


def rows(paced_streams: Sequence[int]) -> tuple[Row, ...]:
    """What is compared, in the order it is shown."""
    return (
        Row("cpu_us_per_steady_request", "CPU per unstreamed request at one rate for all, us", "steady"),
        Row("cpu_us_per_request", "CPU per unstreamed request at full load, us", "unary"),
        Row("cpu_us_per_burst_stream", "CPU per burst stream of 100 chunks, us", "burst", 0),
        *(
            Row(f"paced_{n}_cpu_us_per_chunk", f"CPU per paced chunk, {n:,} streams, us", f"paced_{n}", 2)
            for n in paced_streams
        ),
        *(
            Row(f"paced_{n}_chunks_per_s", f"chunks a second, {n:,} paced streams", f"paced_{n}", 0)
            for n in paced_streams[-1:]
        ),
        Row("requests_per_s", "unstreamed requests a second, full load", "unary", 0),
        Row("added_p50_us", "added latency p50, one connection, us", "latency", 0),
        Row("added_p99_us", "added latency p99, one connection, us", "latency", 0),
        Row("half_added_p50_us", "added latency p50 at half of its full load, us", "half", 0),
        Row("half_added_p99_us", "added latency p99 at half of its full load, us", "half", 0),
        Row("memory_kib_per_stream", "memory per open stream, KiB", f"paced_{memory_streams(paced_streams)}"),
        Row("idle_memory_mib", "memory of the tree, no stream open, MiB", "idle"),
        Row("database_cpu_us_per_steady_request", "database server's CPU, one rate for all, us", "steady"),
        Row("database_cpu_us_per_request", "database server's CPU, full load, us", "unary"),
        Row("database_cpu_us_per_burst_stream", "database server's CPU per burst stream, us", "burst"),
    )


def checks(paced_streams: Sequence[int]) -> tuple[Row, ...]:
    """What tells whether the figures above are to be believed."""
    return (
        Row("steady_requests_per_s", "one rate for all: requests a second", "steady", 0, ratio=False),
        Row("half_requests_per_s", "half load: requests a second", "half", 0, ratio=False),
        Row("unary_core_share", "full load: share of its core the subject used", "unary", 2, ratio=False),
        Row("unary_engine_share", "full load: share of a core the engine used", "unary", 2, ratio=False),
        Row(
            "unary_load_share", "full load: share of their core engine and load used", "unary", 2, ratio=False
        ),
        *(row for n in paced_streams for row in _paced_checks(n)),
        Row(
            "unary_others_share",
            "noise, full load: share of the subject's core others took",
            "unary",
            3,
            False,
        ),
        Row("burst_others_share", "noise, burst: the same", "burst", 3, ratio=False),
    )


def memory_streams(paced_streams: Sequence[int]) -> int:
    """At how many streams memory is read: 512, at which few lag behind and keep what they have not sent."""
    below = [streams for streams in paced_streams if streams <= 512]
    return max(below) if below else min(paced_streams, default=0)


def _paced_checks(streams: int) -> tuple[Row, ...]:
    step, what = f"paced_{streams}", f"{streams:,} paced"
    return (
        Row(f"{step}_core_share", f"{what}: share of its core the subject used", step, 2, ratio=False),
        Row(f"{step}_kept_share", f"{what}: share of the 20 ms steps that arrived", step, 3, ratio=False),
        Row(f"{step}_engine_kept_share", f"{what}: share of the steps the engine made", step, 3, ratio=False),
        Row(
            f"{step}_events_per_read",
            f"{what}: events that reached the client together",
            step,
            2,
            ratio=False,
        ),
        Row(f"{step}_engine_share", f"{what}: share of a core the engine used", step, 2, ratio=False),
        Row(f"{step}_load_share", f"{what}: share of their core engine and load used", step, 2, ratio=False),
        Row(f"{step}_cut_streams", f"{what}: streams that had not ended 6 s later", step, 0, ratio=False),
    )
