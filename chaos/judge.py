"""The judgement: what the ledger says of each call, against what its engine counted and what its client was
given.

It does no I/O. Two bounds hold for every call: the ledger has at least what the client was given, and never
more than the engine made. Between them it is exact wherever anybody was left to tell and to hear:

- A call that came to its end: the engine's own count.
- A stream that its client left, that a limit ended or that was cut at a stop: what its engine had put on the
  wire, which is all that it made. (A half-closed stream is read to its end.)
- A stream whose engine broke off, fell silent or sent an error: what that engine had put on the wire.
- A call whose worker was killed: at most what was put on the wire; what came behind the last chunk that the
  worker read is shown, not judged. Without any count it is `unresolved` and zero, as an unstreamed call
  always is then. One whose client had the whole answer has the engine's count all the same: its record waited
  in memory for a full disk.
- An engine that was killed or stood still (`frozen`) while it had the call: the two bounds alone.

A call of an engine has no row only where not a byte of it reached us: also a stream whose client was told so,
since its engine was silent for longer than it may be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chaos.counted import EngineCall
from chaos.plan import CHAT, CallReport
from race.book import PostedCall

_SHOWN_MAX = 12
_GIVEN_UP = (504, "engine_timeout")
"""What a client is told whose engine says nothing for longer than it may."""


@dataclass(slots=True)
class Verdict:
    """What was found. `by_ending`: rows, and the tokens in them, by (ending, source)."""

    calls: int = 0
    rows: int = 0
    engine_calls: int = 0
    generated: int = 0
    relayed: int = 0
    in_ledger: int = 0
    lost: int = 0
    twice: int = 0
    exact_rows: int = 0
    behind: Counter[str] = field(default_factory=Counter)
    """Tokens that engines made and no row has, by why."""
    without_row: Counter[str] = field(default_factory=Counter)
    """Calls of engines that have no row, by why."""
    by_ending: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


class Judge:
    """One run's."""

    def __init__(
        self, rows: Sequence[PostedCall], engine_calls: Iterable[EngineCall], reports: Sequence[CallReport]
    ) -> None:
        self._rows = rows
        self._made: dict[str, list[EngineCall]] = defaultdict(list)
        for call in sorted(engine_calls, key=lambda call: call.arrived_us):
            self._made[call.request_id].append(call)
        self._by_name = {report.name: report for report in reports}
        self._given = {report.request_id: report for report in reports if report.request_id}
        self._reports = reports
        self._wrong: dict[str, list[str]] = defaultdict(list)
        self._verdict = Verdict()

    def verdict(self) -> Verdict:
        """All of it."""
        verdict = self._verdict
        verdict.calls, verdict.rows = len(self._reports), len(self._rows)
        verdict.engine_calls = sum(len(calls) for calls in self._made.values())
        verdict.generated = sum(call.generated_tokens for calls in self._made.values() for call in calls)
        verdict.relayed = sum(report.tokens for report in self._reports)
        verdict.in_ledger = sum(row.completion_tokens for row in self._rows)
        for row in self._rows:
            self._judge_row(row)
        self._judge_once()
        self._judge_without_row()
        self._judge_given()
        for what, ids in sorted(self._wrong.items()):
            shown = ", ".join(ids[:_SHOWN_MAX]) + (", ..." if len(ids) > _SHOWN_MAX else "")
            verdict.violations.append(f"{len(ids)} x {what}: {shown}")
        return verdict

    def _judge_row(self, row: PostedCall) -> None:
        verdict = self._verdict
        kind = (row.ending, row.usage_source)
        count, tokens = verdict.by_ending.get(kind, (0, 0))
        verdict.by_ending[kind] = (count + 1, tokens + row.completion_tokens)
        calls = self._made.get(row.request_id)
        if calls is None:
            # A worker may be killed when it has noted the call and not sent it; nobody made anything then.
            if row.ending != "killed" or row.completion_tokens:
                self._wrong["a row without a call of an engine"].append(row.request_id)
            return
        report = self._by_name.get(row.end_user)
        if report is None:
            self._wrong["a row of a call that no client made"].append(row.request_id)
            return
        call = calls[-1]
        most = max(one.generated_tokens for one in calls)
        if row.completion_tokens > most:
            verdict.twice += row.completion_tokens - most
            self._note("more in the ledger than the engine made", row, call, report)
        elif row.completion_tokens < (given := _given(row, report)):
            verdict.lost += given - row.completion_tokens
            self._note("less in the ledger than the client was given", row, call, report)
        elif row.completion_tokens and not _is_prompt(row, call, report):
            self._note("another prompt than the engine read", row, call, report)
        else:
            self._judge_exactness(row, call, report)
        made = sum(one.generated_tokens for one in calls)
        if made > row.completion_tokens:
            verdict.behind[_why_behind(row, call)] += made - row.completion_tokens

    def _judge_exactness(self, row: PostedCall, call: EngineCall, report: CallReport) -> None:
        told = told_tokens(call, report.choices)
        if row.ending == "killed":
            if row.completion_tokens > told:
                self._note("a killed call with more than was put on the wire", row, call, report)
            elif _is_answered(report) and row.completion_tokens != call.generated_tokens:
                self._note("a whole answer that was killed and lost count", row, call, report)
            return
        if row.usage_source == "unresolved":
            if row.completion_tokens:
                self._note("tokens in an unresolved row", row, call, report)
            elif row.ending == "finished" or (row.streamed and told and not call.disturbed):
                self._note("unresolved, though the engine had told", row, call, report)
            return
        if call.disturbed:
            return
        expected = call.generated_tokens if call.ended == "finished" else told
        if row.completion_tokens != expected:
            self._note(f"not the engine's count ({row.ending})", row, call, report)
        else:
            self._verdict.exact_rows += 1

    def _note(self, what: str, row: PostedCall, call: EngineCall, report: CallReport) -> None:
        told = told_tokens(call, report.choices)
        self._wrong[what].append(
            f"{row.request_id} ({row.ending}, {row.usage_source}, in the ledger {row.completion_tokens}, made"
            f" {call.generated_tokens}, on the wire {told}, given {report.tokens}, engine {call.ended})"
        )

    def _judge_once(self) -> None:
        for what, counted in (
            ("request id in more than one row", Counter(row.request_id for row in self._rows)),
            ("call in more than one row", Counter(row.end_user for row in self._rows)),
        ):
            for name, count in counted.items():
                if count > 1:
                    self._wrong[what].append(name)
                    self._verdict.twice += (
                        sum(
                            row.completion_tokens
                            for row in self._rows
                            if name in (row.request_id, row.end_user)
                        )
                        // count
                        * (count - 1)
                    )

    def _judge_without_row(self) -> None:
        posted = {row.request_id for row in self._rows}
        for request_id, calls in self._made.items():
            if request_id in posted:
                continue
            call = calls[-1]
            why = _why_no_row(call, self._given.get(request_id))
            if why is None or (request_id in self._given and self._given[request_id].tokens):
                self._wrong["a call of an engine without a row"].append(
                    f"{request_id} (made {call.generated_tokens}, {call.chunks_sent} chunks, {call.ended})"
                )
                continue
            self._verdict.without_row[why] += 1
            self._verdict.behind[f"no row: {why}"] += sum(one.generated_tokens for one in calls)

    def _judge_given(self) -> None:
        """What clients were given must be in the book, and a whole answer as a finished call."""
        rows = {row.end_user: row for row in self._rows}
        for report in self._reports:
            row = rows.get(report.name)
            if row is None:
                if report.tokens:
                    self._verdict.lost += report.tokens
                    self._wrong["given to a client and not in the ledger"].append(
                        f"{report.request_id or report.name} ({report.tokens} tokens)"
                    )
            elif _is_answered(report) and row.ending not in ("finished", "limit_reached", "killed"):
                self._wrong["a whole answer that is no finished call"].append(
                    f"{row.request_id} ({row.ending})"
                )


def _is_answered(report: CallReport) -> bool:
    return report.whole and report.status == 200


def _given(row: PostedCall, report: CallReport) -> int:
    """What the client was given for certain. Where a limit ended a stream, metergate wrote the last event of
    each choice itself: the client counts it, and there is no token in it.
    """
    closing = report.choices if row.ending == "limit_reached" and row.streamed and _is_answered(report) else 0
    return report.tokens - closing


def told_tokens(call: EngineCall, choices: int) -> int:
    """What an engine had put on the wire: in a stream an event a token, after one for each role in a chat."""
    if not call.streamed:
        return call.generated_tokens if call.ended == "finished" else 0
    if call.ended == "finished":
        return call.generated_tokens
    return max(0, call.chunks_sent - (choices if call.endpoint == CHAT else 0))


def _is_prompt(row: PostedCall, call: EngineCall, report: CallReport) -> bool:
    """The engine's, whole; of several prompts a stream that was cut has those that the engine had come to."""
    is_part = report.choices > 1 and call.endpoint != CHAT and row.usage_source != "final"
    return row.prompt_tokens <= call.prompt_tokens if is_part else row.prompt_tokens == call.prompt_tokens


def _why_behind(row: PostedCall, call: EngineCall) -> str:
    if row.ending == "killed":
        return (
            "killed before its first count"
            if row.usage_source == "unresolved"
            else "killed after its last count"
        )
    if row.usage_source == "unresolved":
        return f"unresolved: {row.ending}"
    if call.ended == "running":
        return "made by an engine that was killed"
    if call.frozen:
        return "made by an engine that had stood still"
    if call.broke_off:
        return "made and not sent by an engine that broke off"
    if call.ended == "aborted":
        return "made and held back by an engine when its client left"
    return "made elsewhere before the call was tried again"


def _why_no_row(call: EngineCall, report: CallReport | None) -> str | None:
    """Why nobody could know of it; None where somebody should have."""
    if not call.generated_tokens:
        return "made nothing"
    if call.streamed and report is not None and (report.status, report.code) == _GIVEN_UP:
        return "given up by metergate before its first byte, and begun by its engine after that"
    if call.ended == "running":
        return "killed engine, not a byte had come"
    if call.frozen:
        return "engine stood still, not a byte had come"
    if call.streamed and call.ended == "aborted" and not call.chunks_sent:
        return "held back by an engine when its client left, not a byte had come"
    return None
