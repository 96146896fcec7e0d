"""What each process imports: what it must not, and what comes late and must be there all the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

OBJECT_LAYER = {"sqlalchemy", "sqlmodel", "aiosqlite", "alembic", "pydantic"}
SERVERS = {"fastapi", "uvicorn", "starlette", "nicegui"}

# A process, and what it must never import: each of these is tens of MiB, or a large part of a second.
MUST_NOT = {
    "proxy.worker": OBJECT_LAYER | {"fastapi", "asyncpg", "typer", "httpx", "rich"},
    "ledger.process": OBJECT_LAYER | SERVERS | {"httpx", "asyncpg", "typer", "prometheus_client"},
    "admin.metrics_page": OBJECT_LAYER | SERVERS | {"httpx", "asyncpg"},
    "admin.cli.serve": OBJECT_LAYER | SERVERS | {"httpx", "asyncpg", "prometheus_client"},
    "admin.plane": OBJECT_LAYER | SERVERS,  # it reads its arguments first
}
# What is imported only once it is needed, where a start would not notice that it is gone.
LATE = (
    "admin.asking",
    "admin.plane_server",
    "admin.probe",
    "admin.reconciler",
    "admin.sampling",
    "ledger.counters",
    "ledger.reconciliation.points",
    "asyncpg",
)


def imported_by(module: str) -> set[str]:
    """The top names of all that importing a module imports, in a process of its own."""
    look = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-P", "-c", look], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(run.stdout)}


@pytest.mark.parametrize("module", MUST_NOT)
def test_a_process_imports_nothing_that_it_does_without(module: str) -> None:
    """Guards against one line at the top of some module that costs every start a second."""
    assert not imported_by(module) & MUST_NOT[module]


@pytest.mark.parametrize("module", LATE)
def test_what_is_imported_late_is_there(module: str) -> None:
    """Guards against a fault at the first use, long after the start, that no start would tell of."""
    assert imported_by(module)
