"""The usage objects of every endpoint, key order included (pure)."""

from typing import Any, NamedTuple


class CacheUse(NamedTuple):
    """How much of a prompt was in the prefix cache, and how much went in."""

    cached_tokens: int = 0
    created_tokens: int = 0


def full_usage(
    prompt: int, completion: int, details: dict[str, Any] | None, completion_details: dict[str, Any] | None
) -> dict[str, Any]:
    """The usage of an unstreamed answer: nulls included."""
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": completion_details,
    }


def final_usage(
    prompt: int, completion: int, details: dict[str, Any] | None, completion_details: dict[str, Any] | None
) -> dict[str, Any]:
    """The usage of a stream's last chunk: nulls left out."""
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    if details is not None:
        usage["prompt_tokens_details"] = {key: value for key, value in details.items() if value is not None}
    if completion_details is not None:
        usage["completion_tokens_details"] = completion_details
    return usage


def chat_details(use: CacheUse) -> dict[str, Any]:
    return {
        "cached_tokens": use.cached_tokens,
        "created_cache_tokens": use.created_tokens,
        "multimodal_tokens": None,
    }


def completion_details(use: CacheUse) -> dict[str, Any]:
    """/v1/completions does not tell what went into the cache."""
    return {"cached_tokens": use.cached_tokens, "created_cache_tokens": None, "multimodal_tokens": None}
