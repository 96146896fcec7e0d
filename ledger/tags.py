"""Tags of a key: names and values that people choose, for their own bookkeeping.

Pure. Nothing here acts on a tag. The bounds are those of OpenAI's `metadata`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from ledger.errors import Refused

TAGS_MAX: Final = 16
TAG_NAME_CHARS_MAX: Final = 64
TAG_VALUE_CHARS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Tags:
    """Names with a value each, in the order of the names.

    Raises Refused for more than TAGS_MAX, for a name that is empty, given twice, holds a `=`, is overlong or
    not printable, and for a value that is overlong or not printable.
    """

    pairs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Checks, and sorts."""
        if len(self.pairs) > TAGS_MAX:
            raise Refused(f"a key has {TAGS_MAX} tags at most, not {len(self.pairs)}")
        pairs = tuple(sorted((name.strip(), value.strip()) for name, value in self.pairs))
        for name, value in pairs:
            if not name or len(name) > TAG_NAME_CHARS_MAX or not name.isprintable() or "=" in name:
                raise Refused(f"a tag's name has 1 to {TAG_NAME_CHARS_MAX} printable characters, and no `=`")
            if len(value) > TAG_VALUE_CHARS_MAX or not value.isprintable():
                raise Refused(f"the value of a tag has {TAG_VALUE_CHARS_MAX} printable characters at most")
        if len(dict(pairs)) < len(pairs):
            raise Refused("a tag is given once")
        object.__setattr__(self, "pairs", pairs)

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Self | None:
        """These tags; None where there are none. Raises Refused."""
        return cls(tuple(tags.items())) if tags else None

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Of texts such as `team=search`. Raises Refused."""
        pairs = [text.partition("=") for text in texts]
        if any(not sign for _, sign, _ in pairs):
            raise Refused("a tag is written name=value")
        return cls(tuple((name, value) for name, _, value in pairs))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(tuple(json.loads(text).items()))

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(dict(self.pairs), ensure_ascii=False)
