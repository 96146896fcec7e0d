"""What a call used, in tokens, and where the numbers come from.

Pure. Knows nothing of prices, tenants or engines: a count of tokens is the same whoever pays for it.
"""

from enum import StrEnum

import msgspec


class UsageSource(StrEnum):
    """Where the numbers of a usage row come from, the most trustworthy first."""

    FINAL = "final"  # the engine's last word
    RUNNING = "running"  # the last running count before a disconnect or an engine's death
    RECOVERED = "recovered"  # the last count a killed proxy left in its flight recorder
    ESTIMATED = "estimated"  # an engine without running counts
    UNRESOLVED = "unresolved"  # nothing known: amount zero, listed for the operator


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call. `cached_prompt_tokens` are among `prompt_tokens`, not beside them."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0

    def __post_init__(self) -> None:
        """Our own arithmetic made this: a count below zero or more cached than read is our mistake."""
        assert self.prompt_tokens >= 0 and self.completion_tokens >= 0, self
        assert 0 <= self.cached_prompt_tokens <= self.prompt_tokens, self

    @property
    def total_tokens(self) -> int:
        """Read and written tokens together, as OpenAI's `total_tokens`."""
        return self.prompt_tokens + self.completion_tokens


NO_USAGE = Usage()
