"""Tags: what is taken, and that it comes back as it went in."""

import pytest

from ledger.errors import Refused
from ledger.tags import TAG_NAME_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX, Tags


def test_tags_come_back_as_they_were_kept() -> None:
    """Guards against a value that loses what follows its second `=`, and against an order that depends on who
    wrote.
    """
    tags = Tags.parse(["team= search ", "equation=a=b", "empty=", "naïve=ß"])
    assert tags.pairs == (("empty", ""), ("equation", "a=b"), ("naïve", "ß"), ("team", "search"))
    assert Tags.of_json(tags.to_json()) == tags == Tags.of(dict(reversed(tags.pairs)))
    assert Tags.of({}) is None


@pytest.mark.parametrize(
    "texts",
    [
        ["nothing"],
        ["=v"],
        [" =v"],
        ["a=1", "a=2"],
        ["a=1", " a=1"],
        ["n" * (TAG_NAME_CHARS_MAX + 1) + "=v"],
        ["n=" + "v" * (TAG_VALUE_CHARS_MAX + 1)],
        ["n\x1b=v"],
        ["n=\x1b[2J"],
        [f"n{number}=v" for number in range(TAGS_MAX + 1)],
    ],
)
def test_what_is_no_tag_is_refused(texts: list[str]) -> None:
    """Guards against rows without a bound, and against tags that garble a terminal."""
    with pytest.raises(Refused):
        Tags.parse(texts)


def test_a_name_with_a_sign_is_refused() -> None:
    """Guards against a tag that the command line could not write again."""
    with pytest.raises(Refused):
        Tags.of({"a=b": "c"})
