"""ETags of the control plane's resources, and what If-Match and If-None-Match say of them. Pure.

A tag is strong: it is made of the representation. Some members tell what happened to a thing and not what it
is set to (when a key was used last, what is left of a limit): the tag of a resource with such members has two
halves, one without them and one of all. If-None-Match compares the whole tag, so nobody is told that nothing
changed while it did; If-Match compares the first half alone, so that traffic does not get in the way of who
changes a setting.
"""

import hashlib
import json
import re
from typing import Any, Final

TELLING: Final = frozenset({"last_used_at", "standings"})
"""Members that change without anybody changing the thing."""

_LISTS: Final = (b'{"object":"page",', b'{"object":"list",')
"""How OpenAI's begin: a page of a report is megabytes, and reading it took as long as making it."""

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_TAGS: Final = re.compile(rf"\s*{_TAG.pattern}(?:\s*,\s*{_TAG.pattern})*\s*")


def tag_of(body: bytes) -> str | None:
    """The ETag of a JSON representation, with its quotes; None for a list, which is no single resource."""
    if body.startswith(_LISTS):
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict) or isinstance(value.get("data"), list):
        return None
    whole, settled = _hash(value), _hash(_without_telling(value))
    return f'"{whole}"' if whole == settled else f'"{settled}-{whole}"'


def if_match(field: str, tag: str | None) -> bool:
    """Whether a request with this If-Match may go on where the resource has this tag now, or none."""
    if tag is None:
        return False
    return field.strip() == "*" or any(
        not weak and _settled(given) == _settled(tag.strip('"')) for weak, given in _tags(field)
    )


def if_none_match(field: str, tag: str) -> bool:
    """Whether the representation with this tag is to be sent to who has those in If-None-Match."""
    return field.strip() != "*" and all(given != tag.strip('"') for _, given in _tags(field))


def _tags(field: str) -> list[tuple[bool, str]]:
    """Each tag: whether it is weak, and what is between its quotes. What is no list of tags has none."""
    if _TAGS.fullmatch(field) is None:
        return []
    return [(bool(found[1]), found[2]) for found in _TAG.finditer(field)]


def _settled(opaque: str) -> str:
    return opaque.partition("-")[0]


def _without_telling(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_telling(inner) for name, inner in value.items() if name not in TELLING}
    if isinstance(value, list):
        return [_without_telling(inner) for inner in value]
    return value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
