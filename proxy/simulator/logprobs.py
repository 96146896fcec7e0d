"""Log probabilities (pure): made up, the same for the same token, in the engine's shapes."""

from collections.abc import Iterable, Sequence
from typing import Any

from proxy.simulator.vocabulary import PIECES, SIZE


def _name(token: int) -> str:
    return PIECES[token].decode("utf-8", "replace")


def logprob(token: int) -> float:
    """Between -0.03125 and -4, exact in binary."""
    return -(1 + token * 7 % 128) / 32


def alternatives(token: int, count: int) -> list[tuple[int, float]]:
    """The token and its less likely neighbours."""
    best = logprob(token)
    return [((token + step) % SIZE, best - step / 4) for step in range(count)]


def chat_entry(token: int, top: int) -> dict[str, Any]:
    """One element of a chat choice's `logprobs.content`."""
    return {
        "token": _name(token),
        "logprob": logprob(token),
        "bytes": list(PIECES[token]),
        "top_logprobs": [
            {"token": _name(other), "logprob": value, "bytes": list(PIECES[other])}
            for other, value in alternatives(token, top)
        ],
    }


def completion_logprobs(
    tokens: Iterable[int], top: int, offset: int, first_unknown: bool = False
) -> dict[str, Any]:
    """The four parallel lists of a completion's `logprobs`; the first prompt token has no probability."""
    ids = list(tokens)
    offsets = []
    for token in ids:
        offsets.append(offset)
        offset += len(_name(token))
    known: list[float | None] = [logprob(token) for token in ids]
    tops: list[dict[str, float] | None] = [
        {_name(other): value for other, value in alternatives(token, max(top, 1))} for token in ids
    ]
    if first_unknown and ids:
        known[0] = tops[0] = None
    return {
        "text_offset": offsets,
        "token_logprobs": known,
        "tokens": [_name(token) for token in ids],
        "top_logprobs": tops,
    }


def prompt_logprobs(prompt: Sequence[int], top: int) -> list[dict[str, Any] | None]:
    """Null for the first token, then the token and its alternatives by id."""
    entries: list[dict[str, Any] | None] = [None]
    for token in prompt[1:]:
        entries.append(
            {
                str(other): {"logprob": value, "rank": rank, "decoded_token": _name(other)}
                for rank, (other, value) in enumerate(alternatives(token, max(top, 1)), start=1)
            }
        )
    return entries
