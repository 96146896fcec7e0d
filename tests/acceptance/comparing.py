"""When two answers count as the same (pure)."""

from typing import Any


def assert_same(expected: Any, got: Any, engine_kind: str) -> None:
    """Equal; on a real vLLM, chunks may be cut elsewhere.

    vLLM puts two tokens into one chunk when its client is slow to read (one chunk in some thousands), so the
    pieces of a stream are compared joined. The simulator cuts at every token, always.
    """
    if engine_kind == "vllm":
        expected, got = joined(expected), joined(got)
    assert got == expected


def joined(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: "".join(value) if name == "pieces" else joined(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [joined(value) for value in answer]
    return answer
