"""Who may import whom. Each table is a rule of the house; an exception is a line in it with its reason."""

import sys

import pytest

from tests.architecture.source import PACKAGES, Module, imports, modules, names

# What each package may import of the others.
DIRECTIONS = {
    "ledger": {"ledger"},
    "proxy": {"proxy", "ledger"},
    "admin": {"admin", "ledger"},
    "migrations": {"migrations", "ledger"},
}

# The composition root alone starts both planes; its settings are of both, and the doctor looks at both.
MAY_IMPORT_PROXY = {
    "admin.cli.listening",
    "admin.cli.serve",
    "admin.cli.settings",
    "admin.doctor.examination",
    "admin.doctor.service",
}

# A library, and the packages that may import it.
ONLY_IN = {
    "stripe": ("admin.billing",),
    "fastapi": ("admin",),
    "sqlmodel": ("ledger", "migrations"),
    "sqlalchemy": ("ledger", "migrations"),
    "alembic": ("ledger.schema", "migrations"),
    "aiosqlite": ("ledger",),
    "asyncpg": ("ledger",),
    "passlib": ("ledger.passwords",),
    "typer": ("admin.cli",),
    "rich": ("admin.cli",),
}
NOWHERE = ("vllm", "torch", "requests")

# Sessions are the type that the control plane hands from Database to the ledger's functions.
TYPES_ONLY = {"sqlalchemy": ("admin", "proxy")}

# What runs for every call and every chunk: nothing that it imports, however far, is the object layer.
HOT = (
    "sse",
    "metering",
    "relay",
    "upstream",
    "call",
    "fields",
    "endpoints",
    "headers",
    "errors",
    "flight",
)
HEAVY = ("sqlmodel", "sqlalchemy", "pydantic", "fastapi")

# What a pure module may import besides pure modules: the standard library without I/O, clock and randomness,
# and the libraries whose encoding and checking are functions of their input. A Path is a value, too.
PURE_LIBRARY = {"msgspec", "pydantic"}
IMPURE_STANDARD = {
    "asyncio",
    "ctypes",
    "fcntl",
    "glob",
    "http",
    "io",
    "logging",
    "mmap",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
    "uuid",
}


def is_under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def by_name(module: Module) -> str:
    return module.name


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_packages_import_in_their_directions(module: Module) -> None:
    """Guards against a data plane that needs the control plane, and a ledger that knows either."""
    for imported in imports(module):
        package = imported.split(".")[0]
        if package not in PACKAGES or package in DIRECTIONS[module.package]:
            continue
        assert package == "proxy" and module.name in MAY_IMPORT_PROXY, f"{module.name} imports {imported}"


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_libraries_stay_in_their_places(module: Module) -> None:
    """Guards against Stripe in the ledger, SQL in a page, and the engine in the proxy's process."""
    for imported in imports(module, at_run_time_only=True):
        library = imported.split(".")[0]
        assert library not in NOWHERE, f"{module.name} imports {imported}"
        if library in ONLY_IN:
            allowed = (*ONLY_IN[library], *TYPES_ONLY.get(library, ()) * imported.endswith("ext.asyncio"))
            assert any(is_under(module.name, place) for place in allowed), f"{module.name} imports {imported}"


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_pure_modules_import_only_pure_ones(module: Module) -> None:
    """Guards against a clock, a file or a die in what is tested as a function of its input."""
    if not module.is_pure:
        return
    pure = {other.name for other in modules() if other.is_pure}
    for imported in imports(module, at_run_time_only=True):
        library = imported.split(".")[0]
        if library in PACKAGES:
            assert imported in pure, f"{module.name} says pure and imports {imported}, which does not"
        elif library in sys.stdlib_module_names:
            impure = imported in IMPURE_STANDARD or library in IMPURE_STANDARD
            assert not impure, f"{module.name} says pure and imports {imported}"
        else:
            assert library in PURE_LIBRARY, f"{module.name} says pure and imports {imported}"


@pytest.mark.parametrize("noun", HOT)
def test_the_hot_path_never_reaches_the_object_layer(noun: str) -> None:
    """Guards against a table, a session or a model validated for every chunk."""
    begin = f"proxy.{noun}"
    if begin not in names():
        pytest.fail(f"{begin} is gone: name what took its place in HOT")
    modules_by_name = {module.name: module for module in modules()}
    waiting, seen = [(begin,)], {begin}
    while waiting:
        way = waiting.pop()
        for imported in imports(modules_by_name[way[-1]], at_run_time_only=True):
            if imported.split(".")[0] in HEAVY:
                raise AssertionError(" -> ".join((*way, imported)))
            if imported in modules_by_name and imported not in seen:
                seen.add(imported)
                waiting.append((*way, imported))
