"""Tags of representations, and the two headers that are compared with them."""

import json

import pytest

from admin.etags import if_match, if_none_match, tag_of


def tag(**members: object) -> str:
    made = tag_of(json.dumps(members).encode())
    assert made is not None
    return made


def test_a_tag_changes_with_the_representation_and_with_nothing_else() -> None:
    """Guards against a tag of the bytes, which the order of members would change."""
    assert tag(a=1, b=2) == tag(b=2, a=1)
    assert len({tag(a=1), tag(a=2), tag(a="1"), tag(b=1), tag(a={"b": 1})}) == 5


BODIES = [
    b"",
    b"[]",
    b'"x"',
    b'{"data": []}',
    b"{",
    b'{"object":"page","data":[',
    b'{"object":"list","data":[',
]


@pytest.mark.parametrize("body", BODIES)
def test_what_is_no_single_resource_has_none(body: bytes) -> None:
    """Guards against If-Match on a page of a list."""
    assert tag_of(body) is None


def test_what_only_tells_is_in_the_whole_tag_alone() -> None:
    """Guards against a key in use that cannot be changed, and against a 304 for one that was used since."""
    before, after = (tag(name="K", last_used_at=at, inner=[{"last_used_at": at}]) for at in (None, "now"))
    assert before != after
    assert if_match(before, after) and if_none_match(before, after)
    assert not if_match(before, tag(name="L", last_used_at=None, inner=[{"last_used_at": None}]))


@pytest.mark.parametrize(
    ("field", "matches"),
    [
        ('"a"', True), ('"b"', False), ('"b", "a"', True), ('"b","a"', True), ('W/"a"', False), ("*", True),
        (" * ", True), ("a", False), ("", False), ('"a', False), ('"b" "a"', False), ('"A"', False),
    ],
)  # fmt: skip
def test_if_match_is_a_strong_comparison(field: str, matches: bool) -> None:
    """Guards against a mistyped tag that lets a change through."""
    assert if_match(field, '"a"') is matches
    assert not if_match(field, None)


@pytest.mark.parametrize(
    ("field", "is_new"),
    [('"a"', False), ('W/"a"', False), ('"b"', True), ('"b", "a"', False), ("*", False), ("a", True)],
)
def test_if_none_match_is_a_weak_one(field: str, is_new: bool) -> None:
    """Guards against a cache that compresses, and is sent everything each time."""
    assert if_none_match(field, '"a"') is is_new
