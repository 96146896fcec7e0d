"""One choice's generation (pure): tokens in, steps out; where and why it ends.

The rules are vLLM's: the end token counts as generated and adds no text; a stop string cuts the text before
it and the token that completed it counts; as long as a stop string may still begin, its possible first
characters are held back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from proxy.simulator.vocabulary import EOS, Detokenizer


class Step(NamedTuple):
    """One generated token: the text it let out, and on the last one why it ended."""

    token: int
    text: str
    finish_reason: str | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a choice."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    include_stop: bool = False


def generate(tokens: Iterable[int], limits: Limits) -> Iterator[Step]:
    """The steps of one choice; the last, and only the last, has a finish reason.

    `tokens` must be endless or end in the end token.
    """
    if limits.stop:
        return _generate_with_stops(tokens, limits)
    return _generate(tokens, limits)


def _generate(tokens: Iterable[int], limits: Limits) -> Iterator[Step]:
    detokenizer = Detokenizer()
    add = detokenizer.add
    stop_ids = limits.stop_token_ids
    for count, token in enumerate(tokens, start=1):
        may_stop = count > limits.min_tokens
        if token == EOS and may_stop and not limits.ignore_eos:
            yield Step(token, detokenizer.rest(), "stop")
            return
        if stop_ids and token in stop_ids and may_stop:
            text = add(token) if limits.include_stop else ""
            yield Step(token, text + detokenizer.rest(), "stop", token)
            return
        if count >= limits.max_tokens:
            yield Step(token, add(token) + detokenizer.rest(), "length")
            return
        yield Step(token, add(token))


def _generate_with_stops(tokens: Iterable[int], limits: Limits) -> Iterator[Step]:
    held_back = max(map(len, limits.stop)) - 1
    text = ""
    sent = 0
    plain = Limits(limits.max_tokens, limits.min_tokens, limits.ignore_eos, (), limits.stop_token_ids)
    for count, step in enumerate(_generate(tokens, plain), start=1):
        searched_from = max(0, len(text) - held_back)
        text += step.text
        hit = _first_stop(text, limits.stop, searched_from) if count > limits.min_tokens else None
        if hit is not None and step.stop_reason is None:
            at, stop = hit
            end = at + len(stop) if limits.include_stop else at
            yield Step(step.token, text[sent:end], "stop", stop)
            return
        if step.finish_reason is not None:
            yield Step(step.token, text[sent:], step.finish_reason, step.stop_reason)
            return
        until = max(sent, len(text) - held_back)
        yield Step(step.token, text[sent:until])
        sent = until


def _first_stop(text: str, stops: tuple[str, ...], start: int) -> tuple[int, str] | None:
    found = [(at, stop) for stop in stops if (at := text.find(stop, start)) >= 0]
    return min(found, default=None)
