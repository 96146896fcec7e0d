"""A worker whose streams hold what their request's `user` says: a hard limit that ends at a known token.

`python -m tests.integration.proxy.scripted_worker` takes the arguments of `proxy.worker` and is one, but for
the hold. `user` is "STEPxTIMES": the hold covers STEP completion tokens and can be extended TIMES times by
as many; another `user`, or none, has no limit.
"""

import re
from typing import Any

from proxy import worker
from proxy.call import Call
from proxy.relay import Relay


class ScriptedHold:
    """Covers `step` tokens, and is extended `times` times."""

    def __init__(self, step: int, times: int) -> None:
        self._step = step
        self._times = times
        self.trigger = step

    def grow(self, prompt_tokens: int, completion_tokens: int) -> bool:
        assert prompt_tokens > 0 and completion_tokens >= self.trigger, (prompt_tokens, completion_tokens)
        assert self._times >= 0, "asked again after a limit had nothing left"
        self._times -= 1
        self.trigger += self._step
        return self._times >= 0


def scripted(call: Call) -> ScriptedHold | None:
    """The hold that a call's `user` asks for."""
    wanted = re.fullmatch(r"(\d+)x(\d+)", str(call.fields.get("user")))
    return ScriptedHold(int(wanted[1]), int(wanted[2])) if wanted else None


class ScriptedRelay(Relay):
    """Carries each call with the hold of its script."""

    async def carry(self, call: Call, *rest: Any, hold: Any = None) -> None:
        await super().carry(call, *rest[:3], scripted(call) or hold)


if __name__ == "__main__":
    worker.Relay = ScriptedRelay  # type: ignore[misc]
    worker.main()
