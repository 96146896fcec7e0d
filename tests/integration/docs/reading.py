"""The fenced blocks of a Markdown page, and which of them are code that has to run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOT_RUN = "<!-- not run by the tests: "
_FENCE = re.compile(
    r"^(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, its language, its text, and whether a comment takes it out."""

    page: str
    line: int
    language: str
    text: str
    is_run: bool

    @property
    def name(self) -> str:
        """For a test's id."""
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """All blocks of a page, named from the root."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")),
            found["language"],
            found["text"],
            not found["before"].startswith(NOT_RUN),
        )
        for found in _FENCE.finditer(text)
    ]
