"""The ids of rate limits: a model's name as one segment of a path.

Pure. `rl_` and the name, in which everything but letters, digits, `.`, `_` and `-` is a `~` and two
hexadecimal digits for each byte of UTF-8: `rl_meta-llama~2FLlama-3.1-8B`. One name has one id, and an id one
name.
"""

import re
from typing import Final

PREFIX: Final = "rl_"
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_ID: Final = re.compile(rf"{PREFIX}((?:[A-Za-z0-9._-]|~[0-9A-F]{{2}})+)")


def id_of(model: str) -> str:
    """The id of a model's rate limits."""
    return PREFIX + "".join(chr(byte) if byte in _PLAIN else f"~{byte:02X}" for byte in model.encode())


def model_of(rate_limit_id: str) -> str | None:
    """The model; None for text that is no such id."""
    found = _ID.fullmatch(rate_limit_id)
    if found is None:
        return None
    octets = re.sub(r"~(..)", lambda one: chr(int(one[1], 16)), found[1]).encode("latin-1")
    try:
        model = octets.decode()
    except UnicodeDecodeError:
        return None
    return model if id_of(model) == rate_limit_id else None
