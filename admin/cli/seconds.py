"""What OpenAI's shapes tell in seconds, as people read it."""

from typing import Any

from admin.cli.command import Request


def told(request: Request, thing: dict[str, Any], *times: str) -> dict[str, Any]:
    """The thing as it is asked for: as it is with --json, else with these times written out."""
    if request.as_json:
        return thing
    from admin.times import US_PER_SECOND, format_instant

    shown = {name: thing[name] and format_instant(thing[name] * US_PER_SECOND) for name in times}
    return {**thing, **shown}
