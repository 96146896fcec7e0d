"""One setting: what it is for, what it is unless told otherwise, and how a text becomes its value. pure.

Owns the kinds of values that settings have and the words for a wrong one, which never hold the value: it may
be a secret. It must not know which settings there are, nor where their values come from. Every process reads
its settings before it does anything else: the standard library is enough for them, and quick to import.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

YES: Final = frozenset({"1", "true", "yes", "on", "y", "t"})
NO: Final = frozenset({"0", "false", "no", "off", "n", "f"})

T = TypeVar("T")
_RULES: Final = "metergate setting"


class Secret:
    """A text that no log line and no traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        """Not the text."""
        return "Secret(...)"


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the values of one setting."""

    description: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    pattern: str | None = None
    check: Callable[[Any], Any] | None = None
    """Takes the value and gives it in its one form. Raises ValueError."""

    def hold(self, value: Any) -> Any:
        """The value, if the rules hold for it. Raises ValueError."""
        if isinstance(value, int | float) and not self._is_within(value):
            raise ValueError(f"must be {self._bounds()}")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be of the form {self.pattern}")
        return value if self.check is None else self.check(value)

    def _is_within(self, value: float) -> bool:
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
        )

    def _bounds(self) -> str:
        bounds = (("at least", self.ge), ("more than", self.gt), ("at most", self.le))
        return " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)


def setting(
    *,
    default: T,
    description: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    pattern: str | None = None,
    check: Callable[[Any], Any] | None = None,
) -> T:
    """Declares a field of a class of settings. The default is taken as it is."""
    rules = Rules(description, ge, gt, le, pattern, check)
    made: T = dataclasses.field(default=default, metadata={_RULES: rules})
    return made


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a class, as `settings_of` finds it declared."""

    name: str
    kind: type
    """int, float, bool, str, Path, Secret, an Enum of texts, or tuple: of texts, separated by commas."""
    default: Any
    rules: Rules

    def read(self, given: object) -> Any:
        """The value that a text (or a value of metergate.toml, or of Python) stands for.

        Raises ValueError with the rest of a sentence that begins with the setting's name.
        """
        return self.rules.hold(_READ[self._family](given, self.kind))

    @property
    def _family(self) -> type:
        return Enum if issubclass(self.kind, Enum) else self.kind


def settings_of(declaring: type) -> dict[str, Setting]:
    """The settings that a dataclass declares and inherits, by name."""
    hints = typing.get_type_hints(declaring)
    return {
        field.name: Setting(field.name, _kind(hints[field.name]), field.default, field.metadata[_RULES])
        for field in dataclasses.fields(declaring)
    }


def _kind(hint: Any) -> type:
    """`Path | None` is a Path that may be left unset; `tuple[str, ...]` a tuple."""
    if isinstance(hint, types.UnionType):
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    kind: type = typing.get_origin(hint) or hint
    return kind


def _read_int(given: object, _: type) -> int:
    if isinstance(given, float) and given.is_integer():
        return int(given)
    if isinstance(given, int | str) and not isinstance(given, bool):
        try:
            return int(given)
        except ValueError:
            pass
    raise ValueError("must be a whole number")


def _read_float(given: object, _: type) -> float:
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
    raise ValueError("must be a number")


def _read_bool(given: object, _: type) -> bool:
    if isinstance(given, bool):
        return given
    text = str(given).lower()
    if text not in YES | NO:
        raise ValueError("must be true or false")
    return text in YES


def _read_str(given: object, _: type) -> str:
    if not isinstance(given, str):
        raise ValueError("must be a text")
    return given


def _read_path(given: object, kind: type) -> Path:
    return given if isinstance(given, Path) else Path(_read_str(given, kind))


def _read_secret(given: object, kind: type) -> Secret:
    return given if isinstance(given, Secret) else Secret(_read_str(given, kind))


def _read_choice(given: object, kind: type) -> Any:
    try:
        return kind(given)
    except ValueError:
        choices = [str(each.value) for each in typing.cast(type[Enum], kind)]
        raise ValueError(f"must be one of {', '.join(choices)}") from None


def _read_texts(given: object, _: type) -> tuple[str, ...]:
    """'a, b' -> ('a', 'b'); a list of texts is one."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if isinstance(given, list | tuple) and all(isinstance(each, str) for each in given):
        return tuple(given)
    raise ValueError("must be texts, separated by commas")


_READ: Final[dict[type, Callable[[object, type], Any]]] = {
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
    Path: _read_path,
    Secret: _read_secret,
    Enum: _read_choice,
    tuple: _read_texts,
}
