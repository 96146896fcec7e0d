"""The parts of what a client sent: which of it is text. pure.

Owns how a field that holds prompts is taken apart. Knows nothing of endpoints, tokens or limits.
"""

from typing import Any, Final

_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text", "refusal", "thinking"})


def prompts_of(value: Any) -> list[str] | list[list[int]]:
    """The prompts of a checked `prompt` or `input`, each as text or as its token ids."""
    if isinstance(value, str) or not isinstance(value[0], str | list):
        return [value]
    prompts: list[str] | list[list[int]] = value
    return prompts


def parts_without_text(content: Any) -> int:
    """How many parts of a message's content are no text: an image, a sound, what is not known."""
    if not isinstance(content, list):
        return 0
    return sum(
        not isinstance(part, str)
        and not (isinstance(part, dict) and (part.get("type") in _TEXT_PARTS or part.keys() == {"text"}))
        for part in content
    )
