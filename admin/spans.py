"""OTLP spans of an engine's requests, and how the ledger's rows stand to them call by call. Pure.

vLLM ends a span for each request that it finished, with the request's id and its tokens; the id holds ours,
since we send it as `X-Request-Id`. A second witness then speaks of every single call, but only of those that
ran to their end: of calls that were broken off there are no spans.

Read is what OpenTelemetry's collector writes with its file exporter: a line of JSON for each export. The same
span may be in it twice. A span of an id that is not ours is somebody else's request.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ledger.reconciliation.arithmetic import NO_TOKENS, Tokens
from ledger.usage import UsageSource

MARGIN_US: Final = 5_000_000
"""Rows this near the first and the last span may have theirs in another file."""

_OURS: Final = re.compile(r"req_[0-9a-f]{32}")
_ID: Final = "gen_ai.request.id"
_PROMPT: Final = ("gen_ai.usage.prompt_tokens", "gen_ai.usage.input_tokens")
_GENERATED: Final = ("gen_ai.usage.completion_tokens", "gen_ai.usage.output_tokens")


class SpansUnreadable(ValueError):
    """A line is no export of traces in JSON."""


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None  # 64 bits are text in OTLP's JSON
    double_value: float | str | None = None

    @property
    def number(self) -> int:
        given = self.int_value if self.int_value is not None else self.double_value
        return int(given) if given is not None else 0


class _Attribute(msgspec.Struct):
    key: str = ""
    value: _Value = msgspec.field(default_factory=_Value)


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Attribute] = []


class _Scope(msgspec.Struct):
    spans: list[_Span] = []


class _Resource(msgspec.Struct, rename="camel"):
    scope_spans: list[_Scope] = []


class _Export(msgspec.Struct, rename="camel"):
    resource_spans: list[_Resource]


_exports: Final = msgspec.json.Decoder(_Export)


@dataclass(slots=True)
class Spans:
    """The requests of a file. `calls`: ours, by request id, all choices and prompts of a call together;
    `foreign`: of requests that are not ours. Times in microseconds.
    """

    calls: dict[str, Tokens] = field(default_factory=dict)
    foreign: Tokens = NO_TOKENS
    foreign_requests: int = 0
    from_us: int = 0
    until_us: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, line: bytes) -> None:
        """Takes in one export. Raises SpansUnreadable."""
        try:
            export = _exports.decode(line)
            for resource in export.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._take(span)
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
            raise SpansUnreadable from error

    def _take(self, span: _Span) -> None:
        given = {attribute.key: attribute.value for attribute in span.attributes}
        key = (span.trace_id, span.span_id)
        if _ID not in given or key in self._seen:
            return
        began_us, ended_us = int(span.start_time_unix_nano) // 1000, int(span.end_time_unix_nano) // 1000
        tokens = Tokens(_first(given, _PROMPT), _first(given, _GENERATED))
        self._seen.add(key)
        self.from_us = min(self.from_us or began_us, began_us)
        self.until_us = max(self.until_us, ended_us)
        ours = _OURS.search(given[_ID].string_value or "")
        if ours is None:
            self.foreign += tokens
            self.foreign_requests += 1
        else:
            self.calls[ours[0]] = self.calls.get(ours[0], NO_TOKENS) + tokens


@dataclass(frozen=True, slots=True)
class Row:
    """A call as the ledger has it. `tokens`: as the engine should have counted them."""

    request_id: str
    ended_us: int
    source: UsageSource
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class SpanComparison:
    """`differing`: (id, the span's tokens, the ledger's); a call of unknown count is among them. Lists are in
    the order of the ids, which is that of time.
    """

    agreeing: int
    differing: list[tuple[str, Tokens, Tokens]]
    missing_in_ledger: list[tuple[str, Tokens]]
    missing_in_spans: list[str]
    foreign_requests: int
    foreign: Tokens

    @property
    def is_well(self) -> bool:
        """Whether both say the same of every call."""
        lists = (self.differing, self.missing_in_ledger, self.missing_in_spans)
        return not any(lists) and not self.foreign_requests


def compare(spans: Spans, rows: Iterable[Row]) -> SpanComparison:
    """`rows`: all that ended while spans were written, and any others."""
    agreeing, differing, unseen = 0, [], []
    missing = dict(spans.calls)
    first_us, last_us = spans.from_us + MARGIN_US, spans.until_us - MARGIN_US
    for row in rows:
        told = missing.pop(row.request_id, None)
        if told is None:
            if row.source is UsageSource.FINAL and first_us <= row.ended_us <= last_us:
                unseen.append(row.request_id)
        elif told == row.tokens:
            agreeing += 1
        else:
            differing.append((row.request_id, told, row.tokens))
    return SpanComparison(
        agreeing,
        sorted(differing),
        sorted(missing.items()),
        sorted(unseen),
        spans.foreign_requests,
        spans.foreign,
    )


def _first(given: dict[str, _Value], names: Sequence[str]) -> int:
    return next((given[name].number for name in names if name in given), 0)


def document(found: SpanComparison, shown_max: int) -> dict[str, Any]:
    """As JSON, with so many calls of each list at most."""

    def tokens(of: Tokens) -> dict[str, int]:
        return {"prompt_tokens": of.prompt, "generation_tokens": of.generation}

    return {
        "reconciled": found.is_well,
        "agreeing": found.agreeing,
        "differing": len(found.differing),
        "missing_in_ledger": len(found.missing_in_ledger),
        "missing_in_spans": len(found.missing_in_spans),
        "foreign": {"requests": found.foreign_requests, **tokens(found.foreign)},
        "calls": {
            "differing": [
                {"request_id": request_id, "span": tokens(told), "ledger": tokens(kept)}
                for request_id, told, kept in found.differing[:shown_max]
            ],
            "missing_in_ledger": [
                {"request_id": request_id, "span": tokens(told)}
                for request_id, told in found.missing_in_ledger[:shown_max]
            ],
            "missing_in_spans": found.missing_in_spans[:shown_max],
        },
    }
