"""One setting's value: from a text, from metergate.toml, from Python; and what a wrong one is told."""

from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from ledger.setting import Secret, setting
from ledger.settings import Settings


class Pace(StrEnum):
    FAST = "fast"
    SLOW = "slow"


def _short(texts: tuple[str, ...]) -> tuple[str, ...]:
    if any(len(text) > 3 for text in texts):
        raise ValueError("must be short")
    return tuple(text.upper() for text in texts)


class Declared(Settings):
    count: int = setting(default=1, ge=0, le=10, description="How many.")
    seconds: float = setting(default=1.0, gt=0, description="How long.")
    is_on: bool = setting(default=True, description="Whether.")
    name: str = setting(default="x", pattern="[a-z]+", description="Who.")
    folder: Path | None = setting(default=None, description="Where.")
    token: Secret | None = setting(default=None, description="The key.")
    pace: Pace = setting(default=Pace.FAST, description="How fast.")
    names: tuple[str, ...] = setting(default=(), check=_short, description="Whom.")


SETTINGS = Declared.declared()


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("count", "10", 10),
        ("count", 0, 0),
        ("count", 3.0, 3),
        ("seconds", "0.5", 0.5),
        ("seconds", "2", 2.0),
        ("seconds", 30, 30.0),
        ("is_on", "False", False),
        ("is_on", "0", False),
        ("is_on", "YES", True),
        ("is_on", False, False),
        ("name", "abc", "abc"),
        ("folder", "/a/b", Path("/a/b")),
        ("folder", Path("c"), Path("c")),
        ("pace", "slow", Pace.SLOW),
        ("pace", Pace.SLOW, Pace.SLOW),
        ("names", "a, b,,c ", ("A", "B", "C")),
        ("names", ["a"], ("A",)),
        ("names", "", ()),
    ],
)
def test_a_value_is_read_from_what_is_given(name: str, given: object, value: Any) -> None:
    """Guards against `METERGATE_X=false` that counts as true, and against a text where a number is meant."""
    found = SETTINGS[name].read(given)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("count", "eleven", "must be a whole number"),
        ("count", "11", "must be at least 0 and at most 10"),
        ("count", -1, "must be at least 0 and at most 10"),
        ("count", 1.5, "must be a whole number"),
        ("count", True, "must be a whole number"),
        ("count", "", "must be a whole number"),
        ("seconds", "0", "must be more than 0"),
        ("seconds", "nan", "must be a number"),
        ("seconds", "inf", "must be a number"),
        ("seconds", None, "must be a number"),
        ("is_on", "maybe", "must be true or false"),
        ("is_on", 2, "must be true or false"),
        ("name", "ABC", r"must be of the form \[a-z\]\+"),
        ("name", "abc\n", r"must be of the form \[a-z\]\+"),
        ("name", 5, "must be a text"),
        ("folder", 5, "must be a text"),
        ("token", 5, "must be a text"),
        ("pace", "hunter2", "must be one of fast, slow"),
        ("names", "hunter2", "must be short"),
        ("names", [1], "must be texts, separated by commas"),
    ],
)
def test_a_wrong_value_is_told_without_itself(name: str, given: object, words: str) -> None:
    """Guards against a value out of its bounds that is taken, and against a secret in a message."""
    with pytest.raises(ValueError, match=f"^{words}$"):
        SETTINGS[name].read(given)


def test_a_secret_shows_itself_to_nobody() -> None:
    """Guards against a key in a log line or a traceback's local variables."""
    secret = SETTINGS["token"].read("hunter2")
    assert secret.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
