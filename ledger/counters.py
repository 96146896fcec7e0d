"""The counters of settled calls, right across processes: workers count what they settle and recover, the
poster what it recovers where no worker is left.

They are written to prometheus-client's shared files (PROMETHEUS_MULTIPROC_DIR), where whoever serves /metrics
reads every process's. A file has its place on the disk before it is mapped: a store into a mapped hole of a
full disk is SIGBUS, which ends the process. Labels are bounded: no tenant, no key.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from ledger.errors import LedgerError
from ledger.record import CallRecord, Ending
from ledger.usage import UsageSource

FILE_BYTES: Final = 1 << 20
"""Some 4,000 label sets: 100 models over every endpoint, ending and source that occurs."""

CALLS: Final = Counter(
    "metergate_calls",
    "Calls settled, by endpoint, model, how they ended and where their usage comes from.",
    ["endpoint", "model", "ending", "usage_source"],
)
TOKENS: Final = Counter(
    "metergate_tokens", "Tokens settled, by model; cached are among the input.", ["model", "type"]
)


class CallTally:
    """Settled calls added up, on their way to the counters."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, Ending, UsageSource], list[int]] = {}

    def add(self, record: CallRecord) -> None:
        """One more call. For every call: a lookup and four additions."""
        how = (record.endpoint, record.model, record.ending, record.usage_source)
        sums = self._groups.get(how)
        if sums is None:
            sums = self._groups[how] = [0, 0, 0, 0]
        sums[0] += 1
        sums[1] += record.prompt_tokens
        sums[2] += record.cached_prompt_tokens
        sums[3] += record.completion_tokens

    def count(self) -> None:
        """Adds what there is to the counters, and begins anew."""
        groups, self._groups = self._groups, {}
        for (endpoint, model, ending, source), (calls, *tokens) in groups.items():
            CALLS.labels(endpoint, model, ending.value, source.value).inc(calls)
            for kind, count in zip(("input", "cached", "output"), tokens, strict=True):
                TOKENS.labels(model, kind).inc(count)


def count_calls(records: Iterable[CallRecord]) -> None:
    """Adds settled calls to the counters."""
    tally = CallTally()
    for record in records:
        tally.add(record)
    tally.count()


def take_room(kind: str = "counter", file_bytes: int = FILE_BYTES) -> None:
    """Fills this process's file of a kind of metric with zeros, under the name that prometheus-client gives
    it; it maps what it finds. Before anything is counted. Raises LedgerError where there is no room.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    path = Path(folder, f"{kind}_{os.getpid()}.db")
    try:
        if not path.exists():
            path.write_bytes(bytes(file_bytes))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LedgerError(f"cannot write the metrics file {path}: {error.strerror}") from error
