"""What waits in the journal: settled calls (who called what, how it ended, what it used), and ends of
workers.

Pure. The record is encoded as an array, so the order of its fields is the format: new fields are appended,
with a default, and none is ever moved or removed. Thousands are alive at a time and none is in a cycle: the
collector need not look at them. It must never hold a prompt, a completion or a secret.
"""

from enum import StrEnum

import msgspec

from ledger.usage import Usage, UsageSource

END_USER_CHARS_MAX = 200
"""What is kept of an app's own user: as long a name as any id."""


class Ending(StrEnum):
    """How a call ended."""

    FINISHED = "finished"
    CLIENT_LEFT = "client_left"
    ENGINE_DIED = "engine_died"
    ENGINE_HUNG = "engine_hung"
    STOPPED = "stopped"  # cut short, because the proxy was shutting down
    LIMIT_REACHED = "limit_reached"  # ended cleanly, because a hard limit had nothing left
    KILLED = "killed"  # the proxy was killed; found in its flight recorder


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call takes from its worker's leases on one balance, in the limit's unit."""

    limit_id: str
    end_user: str
    window_us: int
    amount: int


class CallRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One settled call. Times are microseconds since the Unix epoch; `first_byte_us` 0 means none came.

    `end_user`: the app's own user, as the request named it. `holder_id`: who held the leases that `charges`
    are taken from. `choices_per_prompt`: the request's `n`; an engine's counter has the prompt so many times.
    """

    request_id: str
    started_us: int
    ended_us: int
    tenant_id: str
    project_id: str
    api_key_id: str
    model: str
    backend: str
    endpoint: str
    streamed: bool
    ending: Ending
    http_status: int
    usage_source: UsageSource
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    first_byte_us: int = 0
    end_user: str = ""
    holder_id: str = ""
    charges: tuple[Charge, ...] = ()
    choices_per_prompt: int = 1

    @property
    def usage(self) -> Usage:
        """The three counts as one value."""
        return Usage(self.prompt_tokens, self.cached_prompt_tokens, self.completion_tokens)


class HolderEnded(msgspec.Struct, frozen=True, array_like=True):
    """A worker's last line in its journal, written by itself or by its successor: whoever posts it knows
    that every record of that holder has been posted, and gives its leases back.
    """

    holder_id: str


Entry = CallRecord | HolderEnded
