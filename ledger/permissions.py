"""What a key may do: the models it may call, and the endpoints.

Pure. A pattern is a model's name in which each `*` stands for any characters, none among them; every other
character is itself. Names are matched piece by piece, so that no pattern can be slow. Which addresses a key
may be used from is `ledger.networks`'.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from ledger.errors import Refused

PATTERNS_MAX: Final = 200
"""In one list: every call with a key that has a list goes through it."""

PATTERN_CHARS_MAX: Final = 256
"""Hugging Face's names have 96 characters at most; engines are also told paths as names."""

MODEL_CHARS_MAX: Final = 1024
"""A longer name is no model's, and no list is searched for it: the name is the caller's to choose."""


class PermissionMode(StrEnum):
    """What a list of models means. The words are OpenAI's."""

    ALLOW_LIST = "allow_list"  # these and no others
    DENY_LIST = "deny_list"  # all but these


@dataclass(frozen=True, slots=True)
class ModelPermissions:
    """Which models may be called. An empty `allow_list` lets none through, an empty `deny_list` all.

    Raises Refused for a pattern that is empty, longer than PATTERN_CHARS_MAX or not printable, and for more
    than PATTERNS_MAX of them.
    """

    mode: PermissionMode
    patterns: tuple[str, ...]
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _pieces: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)
    """Of each pattern with a `*`: what stands between them."""

    def __post_init__(self) -> None:
        """Checks, and cuts the patterns, once."""
        if len(self.patterns) > PATTERNS_MAX:
            raise Refused(f"a list has {PATTERNS_MAX} models at most, not {len(self.patterns)}")
        patterns = tuple(dict.fromkeys(pattern.strip() for pattern in self.patterns))
        for pattern in patterns:
            if not pattern or len(pattern) > PATTERN_CHARS_MAX or not pattern.isprintable():
                raise Refused(f"the name of a model has 1 to {PATTERN_CHARS_MAX} printable characters")
        object.__setattr__(self, "patterns", patterns)
        object.__setattr__(self, "_names", frozenset(each for each in patterns if "*" not in each))
        object.__setattr__(self, "_pieces", tuple(tuple(each.split("*")) for each in patterns if "*" in each))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        kept = json.loads(text)
        return cls(PermissionMode(kept["mode"]), tuple(kept["patterns"]))

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps({"mode": self.mode, "patterns": self.patterns}, ensure_ascii=False)

    def allows(self, model: str) -> bool:
        """Whether the model may be called."""
        if len(model) > MODEL_CHARS_MAX:
            return False
        return self._lists(model) == (self.mode is PermissionMode.ALLOW_LIST)

    def _lists(self, model: str) -> bool:
        return model in self._names or any(_matches(pieces, model) for pieces in self._pieces)


def _matches(pieces: tuple[str, ...], model: str) -> bool:
    """Whether the pieces stand in the name, in their order, the first at its begin and the last at its end.

    Taking each piece where it is found first is enough: a later place would leave less room for the rest.
    """
    first, *middle, last = pieces
    begin, end = len(first), len(model) - len(last)
    if begin > end or not model.startswith(first) or not model.endswith(last):
        return False
    for piece in middle:
        found = model.find(piece, begin, end)
        if found < 0:
            return False
        begin = found + len(piece)
    return True


class Scope(StrEnum):
    """What a key may be used for: an endpoint of the data plane, by the name that usage rows give it, or the
    list of models."""

    CHAT_COMPLETIONS = "chat.completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    GENERATE = "generate"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class KeyScopes:
    """The scopes of a key that has not all of them."""

    scopes: tuple[Scope, ...]

    @classmethod
    def parse(cls, names: Iterable[str]) -> Self:
        """Of their names, each once. Raises Refused for a name that is none."""
        wanted = set()
        for name in names:
            if name not in set(Scope):
                raise Refused(f"there is no scope {name[:64]!r}: the scopes are {', '.join(Scope)}")
            wanted.add(Scope(name))
        return cls(tuple(scope for scope in Scope if scope in wanted))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(tuple(Scope(name) for name in json.loads(text)))

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(self.scopes)

    def allow(self, name: str) -> bool:
        """Whether a scope of this name is among them."""
        return name in self.scopes
