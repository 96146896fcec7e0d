"""Model permissions and scopes: matching against a slow reference, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refused
from ledger.permissions import (
    MODEL_CHARS_MAX,
    PATTERN_CHARS_MAX,
    PATTERNS_MAX,
    KeyScopes,
    ModelPermissions,
    PermissionMode,
    Scope,
)
from tests.permitted import allow_models, deny_models

# Few letters, so that they meet; and what fnmatch and regular expressions read as more than themselves.
ALPHABET = "ab*[]?.\\(|^$-!/"
PATTERNS = st.text("ab*", min_size=1, max_size=6) | st.text(ALPHABET, min_size=1, max_size=8)
NAMES = st.text("ab", max_size=6) | st.text(ALPHABET, max_size=12)


def matches(pattern: str, name: str) -> bool:
    """The reference: the definition of a wildcard, tried in every way."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(matches(pattern[1:], name[taken:]) for taken in range(len(name) + 1))
    return name[:1] == pattern[0] and matches(pattern[1:], name[1:])


@given(st.lists(PATTERNS, max_size=4), NAMES)
def test_a_pattern_matches_as_its_definition_says(patterns: list[str], name: str) -> None:
    """Guards against `[` or `?` read as more than itself, and a `*` that stops at the first place found."""
    listed = any(matches(pattern, name) for pattern in patterns)
    assert allow_models(patterns).allows(name) is listed
    assert deny_models(patterns).allows(name) is not listed


@given(st.data())
def test_a_name_made_of_a_pattern_matches_it(data: st.DataObject) -> None:
    """Guards against a reference and a code that refuse alike."""
    pattern = data.draw(PATTERNS)
    name = "".join(data.draw(st.text(ALPHABET, max_size=3)) if each == "*" else each for each in pattern)
    assert allow_models([pattern]).allows(name)


@pytest.mark.parametrize(
    ("pattern", "name", "allowed"),
    [
        ("gpt-*", "gpt-4o", True),
        ("gpt-*", "my-gpt-4o", False),
        ("*-mini", "gpt-4o-mini", True),
        ("*-mini", "gpt-4o-mini-2", False),
        ("meta-llama/*", "meta-llama/Llama-3.1-8B", True),
        ("gpt-4o", "GPT-4o", False),
        ("gpt.4o", "gpt-4o", False),
        ("a*a", "a", False),
        ("*ab*b", "ab", False),
        ("*", "anything\nat all", True),
    ],
)
def test_patterns_are_whole_and_literal(pattern: str, name: str, allowed: bool) -> None:
    """Guards against a pattern that lets through whatever holds it, and a dot that is any character."""
    assert allow_models([pattern]).allows(name) is allowed


def test_an_empty_list_says_what_it_says() -> None:
    """Guards against an allow list whose last model was taken out, and which then allows all."""
    assert not allow_models([]).allows("m")
    assert deny_models([]).allows("m")


def test_no_name_and_no_pattern_is_slow() -> None:
    """Guards against a caller's long name that holds a worker: backtracking would take years for this one."""
    permissions = deny_models(["*a" * 120 + "b"] * 2 + [f"*a*a*a*{number}" for number in range(100)])
    assert permissions.allows("a" * MODEL_CHARS_MAX)
    assert not permissions.allows("a" * 16_000_000)


def test_a_name_beyond_all_models_is_let_through_by_no_list() -> None:
    """Guards against a deny list that a long name goes round."""
    long = "m" * (MODEL_CHARS_MAX + 1)
    assert not deny_models([]).allows(long) and not allow_models(["*"]).allows(long)


@pytest.mark.parametrize(
    "patterns", [[""], ["  "], ["a\nb"], ["a\x1b[2J"], ["m" * (PATTERN_CHARS_MAX + 1)]], ids=repr
)
def test_a_name_that_is_none_is_refused(patterns: list[str]) -> None:
    """Guards against an empty pattern, and one that garbles a terminal."""
    with pytest.raises(Refused, match="the name of a model has 1 to 256 printable characters"):
        allow_models(patterns)


def test_lists_are_bounded() -> None:
    """Guards against a list that every call of a key pays for."""
    assert len(allow_models(f"m{n}" for n in range(PATTERNS_MAX)).patterns) == PATTERNS_MAX
    with pytest.raises(Refused, match="200 models at most, not 201"):
        allow_models(f"m{n}" for n in range(PATTERNS_MAX + 1))


@given(st.sampled_from(PermissionMode), st.lists(PATTERNS, max_size=4))
def test_permissions_come_back_as_they_were_kept(mode: PermissionMode, patterns: list[str]) -> None:
    """Guards against a deny list that is read back as an allow list."""
    kept = ModelPermissions(mode, tuple(patterns))
    assert ModelPermissions.of_json(kept.to_json()) == kept


def test_scopes_are_known_by_name() -> None:
    """Guards against a mistyped scope that is silently none, and leaves a key with fewer or all."""
    scopes = KeyScopes.parse(["models", "embeddings", "models"])
    assert scopes.scopes == (Scope.EMBEDDINGS, Scope.MODELS)
    assert scopes.allow("embeddings") and not scopes.allow("chat.completions")
    assert KeyScopes.of_json(scopes.to_json()) == scopes
    with pytest.raises(Refused, match="no scope 'embedding': the scopes are chat"):
        KeyScopes.parse(["embedding"])
