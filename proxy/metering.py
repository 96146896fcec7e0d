"""What an engine said it used: usage objects in, `Usage` out. pure.

Owns the arithmetic over vLLM's `usage` fields; knows nothing of framing, of clients or of the ledger's
tables. Rules, measured on vLLM 0.32:

- A finished answer's `usage` is the total over its choices: the engine's last word (`final`).
- A stream's running `usage` (`continuous_usage_stats`) is *per choice*: the last one of each index counts,
  and they add up.
- In chat all choices share one prompt. In completions choice `i` belongs to prompt `i // n`, and each chunk
  tells the tokens of its own prompt only.
- Cached prompt tokens are told at the end only, so a running count has none.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ledger.usage import Usage, UsageSource


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """The `usage` object of chat, completions, embeddings, pooling, score and rerank, as far as it is
    metered."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    total_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: WireUsage | None = None


_answers = msgspec.json.Decoder(_Answer)


class UsageMissing(Exception):
    """The engine's answer is not JSON, or holds no usage that can be read."""


def usage_of(wire: WireUsage) -> Usage:
    """A usage object as the engine's last word. Raises UsageMissing where its numbers make no sense."""
    details = wire.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or 0
    completion = wire.completion_tokens or 0
    if not 0 <= cached <= wire.prompt_tokens or completion < 0:
        raise UsageMissing
    return Usage(wire.prompt_tokens, cached, completion)


def usage_of_answer(body: bytes) -> Usage:
    """The usage of an unstreamed JSON answer. Raises UsageMissing."""
    try:
        wire = _answers.decode(body).usage
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageMissing from error
    if wire is None:
        raise UsageMissing
    return usage_of(wire)


class StreamMeter:
    """Follows one stream's usage: the running count of each choice until the final total comes.

    `prompt_tokens`, `completion_tokens`: the running counts added up over prompts and choices, kept so with
    every chunk because every chunk's way asks for them. The final total leaves them as they are.
    """

    __slots__ = ("_completion", "_final", "_n", "_prompts", "completion_tokens", "prompt_tokens")

    def __init__(self, choices_per_prompt: int) -> None:
        self._n = max(1, choices_per_prompt)
        self._prompts: dict[int, int] = {}
        self._completion: dict[int, int] = {}
        self._final: Usage | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def running(self, index: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Notes the running usage that came with a chunk of choice `index`."""
        counted, prompt = self._completion, index // self._n
        self.completion_tokens += completion_tokens - counted.get(index, 0)
        counted[index] = completion_tokens
        known = self._prompts.get(prompt)
        if known != prompt_tokens:
            self.prompt_tokens += prompt_tokens - (known or 0)
            self._prompts[prompt] = prompt_tokens

    def choice(self, index: int) -> tuple[int, int]:
        """The running (prompt, completion) tokens of one choice; zero where the engine has told none."""
        return self._prompts.get(index // self._n, 0), self._completion.get(index, 0)

    def final(self, wire: Mapping[str, Any]) -> None:
        """Notes the usage object of the stream's last chunk. Raises UsageMissing."""
        try:
            self._final = usage_of(msgspec.convert(wire, WireUsage))
        except msgspec.ValidationError as error:
            raise UsageMissing from error

    @property
    def is_final(self) -> bool:
        """Whether the engine has said its last word."""
        return self._final is not None

    def reading(self) -> tuple[Usage, UsageSource]:
        """The usage as known now, and how well it is known."""
        if self._final is not None:
            return self._final, UsageSource.FINAL
        if not self._prompts:
            return Usage(0, 0, 0), UsageSource.UNRESOLVED
        return Usage(self.prompt_tokens, 0, self.completion_tokens), UsageSource.RUNNING
