"""The settled call as it waits in the journal: who called what, how it ended, what it used.

Pure. The record is encoded as an array, so the order of its fields is the format: new fields are appended,
with a default, and none is ever moved or removed. It must never hold a prompt, a completion or a secret.
"""

from enum import StrEnum

import msgspec

from ledger.usage import Usage, UsageSource


class Ending(StrEnum):
    """How a call ended."""

    FINISHED = "finished"
    CLIENT_LEFT = "client_left"
    ENGINE_DIED = "engine_died"
    ENGINE_HUNG = "engine_hung"
    STOPPED = "stopped"  # cut short, because the proxy was shutting down


class CallRecord(msgspec.Struct, frozen=True, array_like=True):
    """One settled call. Times are microseconds since the Unix epoch; `first_byte_us` 0 means none came."""

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

    @property
    def usage(self) -> Usage:
        """The three counts as one value."""
        return Usage(self.prompt_tokens, self.cached_prompt_tokens, self.completion_tokens)
