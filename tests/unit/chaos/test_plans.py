"""What the clients of the chaos ask for, and how they behave."""

from __future__ import annotations

import json
import random
from itertools import islice

from chaos.plan import Asked, Group, Leaving, calls_of

GROUP = Group("g", "a secret", 1)


def calls(seed: int, count: int = 300) -> list[Asked]:
    return list(islice(calls_of(seed, GROUP, 0, random.Random(seed)), count))


def test_a_seed_decides_what_is_asked_for() -> None:
    """Guards against two runs of a seed that cannot be compared."""
    assert calls(1) == calls(1)
    assert calls(1) != calls(2)


def test_calls_are_mixed() -> None:
    """Guards against a chaos in which nobody leaves, or everybody."""
    asked = calls(1)
    for what, share in {
        "streamed": sum(call.streamed for call in asked),
        "chat": sum(call.chat for call in asked),
        "slow": sum(call.slow for call in asked),
        "several": sum(call.choices > 1 for call in asked),
        "closes": sum(call.leaving is Leaving.CLOSES for call in asked),
        "resets": sum(call.leaving is Leaving.RESETS for call in asked),
        "before the head": sum(
            not call.leave_after_bytes for call in asked if call.leaving is not Leaving.NEVER
        ),
        "in the head": sum(0 < call.leave_after_bytes < 400 for call in asked),
    }.items():
        assert 0.03 < share / len(asked) < 0.97, (what, share)


def test_every_call_has_a_name_of_its_own() -> None:
    """Guards against a row that could be two calls'."""
    names = [json.loads(call.request.partition(b"\r\n\r\n")[2])["user"] for call in calls(1)]
    assert names == [call.name for call in calls(1)]
    assert len(set(names)) == len(names)


def test_choices_are_those_of_the_body() -> None:
    """Guards against role events that are taken for tokens."""
    for call in calls(1):
        body = json.loads(call.request.partition(b"\r\n\r\n")[2])
        prompts = len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
        assert call.choices == body.get("n", 1) * prompts
