"""Names that people give to tenants, projects, keys and the like. Pure."""

from typing import Final

from ledger.errors import Refused

NAME_CHARS_MAX: Final = 200  # a name is shown in lists and exports; OpenAI's own admin API takes 256 at most


def checked_name(name: str) -> str:
    """The name without what surrounds it. Raises Refused for an empty or overlong one."""
    name = name.strip()
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise Refused(f"a name has 1 to {NAME_CHARS_MAX} printable characters", param="name")
    return name
