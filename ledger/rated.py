"""Calls as posting writes them: rated rows of `usage`, and the sums that are made of them.

Does no I/O: the price book is in memory. One pass over the records, since this is done for every call: the
price of a model is looked up once for as long as it holds, and calls of one hour that differ in nothing that
any sum tells apart are summed together. All further sums are made of those few groups.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ledger.money import Rates, rate_counts
from ledger.moves import Caller, Use
from ledger.periods import DAY_US, HOUR_US
from ledger.price_book import PriceBook
from ledger.record import CallRecord, Ending
from ledger.usage import UsageSource

Row = tuple[Any, ...]

UNRESOLVED: Final = UsageSource.UNRESOLVED.value
_FREE: Final = Rates(0, 0, 0)
_TEXT: Final[dict[str, str]] = {word: str(word.value) for word in (*Ending, *UsageSource)}
"""A driver takes a plain text several times as fast as an enum's member."""


class _Price(NamedTuple):
    """What rates calls of a model that start in [from_us, until_us)."""

    from_us: int
    until_us: int
    rates: Rates
    currency: str
    version_id: str | None


@dataclass(slots=True)
class RatedCalls:
    """`rows` are in the order of `usage`'s columns (tests/integration/ledger/test_posting.py holds them to
    that). The sums are those of all rows.
    """

    rows: list[Row] = field(default_factory=list)
    unpriced: int = 0
    groups: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)
    """The key of `usage_hour`, what rated the calls (empty where nothing is due), and the end user -> calls,
    prompt, cached and completion tokens, picos, and when the latest call started."""

    def owners(self) -> set[tuple[str, str, str]]:
        """The tenants, projects and keys of the calls."""
        return {key[1:4] for key in self.groups}

    def hours(self) -> list[Row]:
        """Rows of `usage_hour`, in the order of its key: posters of two hosts then lock in one order."""
        hours: dict[tuple[Any, ...], list[int]] = {}
        for key, sums in self.groups.items():
            _add(hours, key[:8], sums[:5])
        return _sorted(hours)

    @staticmethod
    def project_hours(hours: list[Row]) -> list[Row]:
        """Rows of `project_hour`, in the order of its key, out of those of `usage_hour`."""
        projects: dict[tuple[Any, ...], list[int]] = {}
        for hour_us, tenant_id, project_id, _, model, endpoint, _, _, *sums in hours:
            _add(projects, (hour_us, tenant_id, project_id, model, endpoint), sums[:4])
        return _sorted(projects)

    def days(self) -> list[Row]:
        """Rows of `usage_day`, in the order of its key."""
        days: dict[tuple[Any, ...], list[int]] = {}
        for (hour_us, *names, _, _, version_id, _), sums in self.groups.items():
            _add(days, (hour_us - hour_us % DAY_US, *names, version_id), sums[:4])
        return _sorted(days)

    @staticmethod
    def project_days(days: list[Row]) -> list[Row]:
        """Rows of `project_day`, in the order of its key, out of those of `usage_day`."""
        projects: dict[tuple[Any, ...], list[int]] = {}
        for day_us, tenant_id, project_id, _, model, endpoint, version_id, *counts in days:
            _add(projects, (day_us, tenant_id, project_id, model, endpoint, version_id), counts)
        return _sorted(projects)

    def uses(self) -> dict[Caller, Use]:
        """What the calls used, of all that the same limits hold for together."""
        uses: dict[Caller, list[int]] = {}
        for key, (calls, prompt, _, completion, picos, _) in self.groups.items():
            hour_us, tenant_id, project_id, api_key_id, model, *_, end_user = key
            caller = Caller(tenant_id, project_id, api_key_id, model, end_user, hour_us)
            _add(uses, caller, [calls, prompt + completion, picos])
        return {caller: Use._make(sums) for caller, sums in uses.items()}

    def last_used(self) -> list[tuple[int, str]]:
        """When each key's latest call started, in the order of the keys."""
        latest: dict[str, int] = {}
        for key, sums in self.groups.items():
            latest[key[3]] = max(sums[-1], latest.get(key[3], 0))
        return [(latest[key_id], key_id) for key_id in sorted(latest)]


def _add(totals: dict[Any, list[int]], key: Any, sums: list[int]) -> None:
    before = totals.get(key)
    totals[key] = sums if before is None else [a + b for a, b in zip(before, sums, strict=True)]


def _sorted(totals: dict[tuple[Any, ...], list[int]]) -> list[Row]:
    return [(*key, *totals[key]) for key in sorted(totals)]


def _price(prices: PriceBook, model: str, tenant_id: str, at_us: int) -> _Price:
    version = prices.in_force(model, tenant_id, at_us)
    return _Price(
        prices.held_from(model, tenant_id, at_us),
        prices.holds_until(model, tenant_id, at_us),
        _FREE if version is None else version.rates,
        prices.currency if version is None else version.currency,
        None if version is None else version.id,
    )


def rated(records: Iterable[CallRecord], prices: PriceBook, now_us: int) -> RatedCalls:
    """Rate the records by the prices in force when they started."""
    calls = RatedCalls()
    found: dict[tuple[str, str], _Price] = {}
    rows, groups = calls.rows, calls.groups
    for record in records:
        started_us, model, tenant_id = record.started_us, record.model, record.tenant_id
        price = found.get((model, tenant_id))
        if price is None or not price.from_us <= started_us < price.until_us:
            price = found[model, tenant_id] = _price(prices, model, tenant_id, started_us)
        prompt, cached, completion = (
            record.prompt_tokens,
            record.cached_prompt_tokens,
            record.completion_tokens,
        )
        source = _TEXT[record.usage_source]
        # Of a call of which nothing is known, not even the price of a request is due.
        version_id = price.version_id
        if source == UNRESOLVED:
            picos, due_by = 0, ""
        else:
            picos, due_by = rate_counts(prompt, cached, completion, price.rates), version_id or ""
        if version_id is None:
            calls.unpriced += 1
        project_id, api_key_id = record.project_id, record.api_key_id
        endpoint, end_user = record.endpoint, record.end_user
        rows.append(
            (
                record.request_id,
                started_us,
                record.ended_us,
                record.first_byte_us,
                tenant_id,
                project_id,
                api_key_id,
                model,
                record.backend,
                endpoint,
                record.streamed,
                _TEXT[record.ending],
                record.http_status,
                source,
                prompt,
                cached,
                completion,
                picos,
                price.currency,
                version_id,
                now_us,
                end_user,
                record.choices_per_prompt,
            )
        )
        hour_us = started_us - started_us % HOUR_US
        group = (
            hour_us,
            tenant_id,
            project_id,
            api_key_id,
            model,
            endpoint,
            price.currency,
            source,
            due_by,
            end_user,
        )
        sums = groups.get(group)
        if sums is None:
            groups[group] = [1, prompt, cached, completion, picos, started_us]
            continue
        sums[0] += 1
        sums[1] += prompt
        sums[2] += cached
        sums[3] += completion
        sums[4] += picos
        sums[5] = max(sums[5], started_us)
    return calls
