"""Pure: sampled stacks as a table and as a flame graph.

Rules: a line is a stack, outermost frame first, frames with semicolons between them, and how often it was
sampled. Must not know who was sampled, nor how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape

Stacks = Mapping[tuple[str, ...], int]

_WIDTH = 1600
_HEIGHT = 18
_NARROWEST = 0.4
_CHARACTER = 6.6


def read(lines: Iterable[str], *, without: tuple[str, ...] = ()) -> Stacks:
    """The samples; stacks with a frame that holds one of `without` are left out."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        frames, _, count = line.strip().rpartition(" ")
        if frames and not any(word in frames for word in without):
            stacks[tuple(frames.split(";"))] += int(count)
    return stacks


def table(stacks: Stacks, *, most: int = 40) -> str:
    """The functions that take most, by what they take themselves; `under` is with all that they call."""
    total = sum(stacks.values())
    own: Counter[str] = Counter()
    under: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for frame in set(stack):
            under[frame] += count
    lines = ["| itself | under it | function |", "|---:|---:|---|"]
    for frame, count in own.most_common(most):
        lines.append(f"| {count / total:.1%} | {under[frame] / total:.1%} | `{frame}` |")
    return "\n".join(lines) + f"\n\n{total} samples.\n"


@dataclass(slots=True)
class _Box:
    """A frame where it was called from."""

    count: int = 0
    inner: dict[str, _Box] = field(default_factory=dict)


def flame_graph(stacks: Stacks, title: str) -> str:
    """An SVG: a box is a frame, as wide as its share; what it calls stands on it. Titles tell the shares."""
    root = _Box()
    for stack, count in stacks.items():
        box = root
        box.count += count
        for frame in stack:
            box = box.inner.setdefault(frame, _Box())
            box.count += count
    drawn: list[str] = []
    depth = max((len(stack) for stack in stacks), default=0)
    total = root.count or 1

    def draw(name: str, box: _Box, left: float, level: int) -> None:
        width = box.count / total * _WIDTH
        if width < _NARROWEST:
            return
        top = (depth - level) * _HEIGHT + 30
        label = name if len(name) * _CHARACTER < width else name[: max(0, int(width / _CHARACTER) - 1)]
        text = f'<text x="{left + 3:.1f}" y="{top + 13}">{escape(label)}</text>' if len(label) > 2 else ""
        drawn.append(
            f"<g><title>{escape(name)}: {box.count / total:.1%}</title>"
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_HEIGHT - 1}" '
            f'fill="hsl({_hue(name)},70%,72%)"/>{text}</g>'
        )
        for inner_name, inner in sorted(box.inner.items()):
            draw(inner_name, inner, left, level + 1)
            left += inner.count / total * _WIDTH

    draw("all", root, 0.0, 0)
    height = (depth + 1) * _HEIGHT + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="monospace" font-size="11"><text x="8" y="18">{escape(title)}</text>'
        + "".join(drawn)
        + "</svg>\n"
    )


def _hue(name: str) -> int:
    """The same colour for a function wherever it stands."""
    return sum(name.encode()) * 7 % 60
