"""Files: one noun each, not too long, and a docstring that says what it owns."""

import ast

import pytest

from tests.architecture.source import Module, modules

LINES_MAX = 500
BANNED = {"manager", "helper", "helpers", "util", "utils", "common", "core", "misc", "managers"}
WORDS_BANNED = ("Manager", "Helper", "Util")


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_file_is_about_one_noun(module: Module) -> None:
    """Guards against the file that everything ends up in."""
    assert module.lines <= LINES_MAX, f"{module.path} has {module.lines} lines"
    assert not BANNED.intersection(module.name.split(".")), module.name
    assert not BANNED.intersection(word for part in module.name.split(".") for word in part.split("_")), (
        module.name
    )
    is_empty = module.path.name == "__init__.py" and module.lines <= 1
    assert module.docstring or is_empty, f"{module.name} says nothing of what it owns"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_classes_are_named_for_what_they_are(module: Module) -> None:
    """Guards against a SessionManager and its helpers."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            assert not any(word in node.name for word in WORDS_BANNED), f"{module.name}.{node.name}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_nothing_is_opened_at_import(module: Module) -> None:
    """Guards against module-level engines, settings and clients, which no test can take the place of."""
    for node in module.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call):
            called = ast.unparse(value.func)
            opened = called.endswith(
                ("create_async_engine", "create_engine", "AsyncClient", "Settings", "Database")
            )
            assert not opened, f"{module.name}:{node.lineno} calls {called} when it is imported"
