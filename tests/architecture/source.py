"""What the architecture tests look at: every module of the four packages, parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "proxy", "admin", "migrations")


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str  # dotted
    path: Path
    tree: ast.Module
    lines: int

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def is_pure(self) -> bool:
        """Whether the docstring says so: a paragraph or sentence that begins with "Pure"."""
        return any(
            sentence.strip().lower() in ("pure", "pure.")
            or sentence.strip().startswith(("Pure.", "Pure:", "Pure,"))
            for sentence in self.docstring.replace(". Pure", ".\nPure").splitlines()
        )

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the four packages, and none of the tests."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found.append(Module(name, path, ast.parse(text), text.count("\n")))
    return tuple(found)


@cache
def names() -> frozenset[str]:
    return frozenset(module.name for module in modules())


def imports(module: Module, *, at_run_time_only: bool = False) -> Iterator[str]:
    """The dotted modules that a module imports, wherever in it; `from a import b` gives a.b if that is one.

    With `at_run_time_only`, what stands under `if TYPE_CHECKING:` is left out.
    """
    skipped: set[ast.AST] = set()
    if at_run_time_only:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                skipped.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(module.tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: relative imports hide the direction"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names() else str(node.module)
