"""A call's sequences, advanced one engine step at a time, and counted as they go.

Every engine step makes one token for each sequence that is not finished. The account and the counters are
written in the step that makes the token, so that they are exact whenever a call is cut off.
"""

from collections.abc import Iterator, Sequence

from proxy.simulator.accounts import Account
from proxy.simulator.generation import Step
from proxy.simulator.metrics import ModelCounters
from proxy.simulator.usage import CacheUse


class Choice:
    """One sequence: a prompt's and an index's."""

    __slots__ = (
        "cached_tokens",
        "finish_reason",
        "generated_tokens",
        "index",
        "prompt",
        "prompt_tokens",
        "steps",
    )

    def __init__(self, index: int, prompt: Sequence[int], use: CacheUse, steps: Iterator[Step]) -> None:
        self.index = index
        self.prompt = prompt
        self.prompt_tokens = len(prompt)
        self.cached_tokens = use.cached_tokens
        self.steps = steps
        self.generated_tokens = 0
        self.finish_reason: str | None = None


class Batch:
    """All sequences of one call."""

    __slots__ = ("_live", "account", "choices", "counters")

    def __init__(self, choices: list[Choice], account: Account, counters: ModelCounters) -> None:
        self.choices = choices
        self.account = account
        self.counters = counters
        self._live = list(choices)

    @property
    def done(self) -> bool:
        return not self._live

    def advance(self) -> list[tuple[Choice, Step]]:
        """One engine step: the next token of every live sequence."""
        live = self._live
        if not self.account.prefilled:
            self.account.prefilled = True
            for choice in live:
                self.counters.prefilled(choice.prompt_tokens, choice.cached_tokens)
        made = [(choice, next(choice.steps)) for choice in live]
        self.account.generated_tokens += len(made)
        self.counters.generation_tokens += len(made)
        ended = False
        for choice, step in made:
            choice.generated_tokens += 1
            if step.finish_reason is not None:
                ended = True
                choice.finish_reason = step.finish_reason
                self.counters.sequence_finished(
                    step.finish_reason, choice.prompt_tokens, choice.generated_tokens
                )
        if ended:
            self._live = [choice for choice in live if choice.finish_reason is None]
        return made
