"""One engine and one data plane for all tests that break neither; others start their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_thread
from tests.integration.proxy.gate import Gate
from tests.integration.proxy.gate import gate as open_gate

NewGate = Callable[..., Gate]


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    """200 tokens a second, so that a stream can be met half-way."""
    config = SimulatorConfig(tokens_per_second=200, prompt_tokens_details=True, reasoning=False)
    with engine_thread(config) as running:
        yield running


@pytest.fixture(scope="session")
def shared_gate(
    shared_engine: Engine, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    limits = {"max_body_bytes": "100000", "max_header_bytes": "16384"}
    with open_gate(sqlite_template, folder, [shared_engine.url], **limits) as running:
        yield running


@pytest.fixture
def calm_engine(shared_engine: Engine) -> Iterator[Engine]:
    """The shared engine; what faults a test sets end with it."""
    yield shared_engine
    shared_engine.set_faults()


@pytest.fixture
def gate(shared_gate: Gate, calm_engine: Engine) -> Gate:
    """The shared data plane, before `calm_engine`."""
    return shared_gate


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_gate_on_both(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path
) -> Iterator[NewGate]:
    """As new_gate, on each kind of database in turn: for what the ledger has a part in."""
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("postgresql_url"))
    with ExitStack() as stack:

        def start(*engines: str, workers: int = 1, **settings: str) -> Gate:
            opened = open_gate(
                sqlite_template, tmp_path, list(engines), workers=workers, database_url=url, **settings
            )
            return stack.enter_context(opened)

        yield start


@pytest.fixture
def new_gate(sqlite_template: Path, tmp_path: Path) -> Iterator[NewGate]:
    """Starts data planes of the test's own: `new_gate(engine_url, ..., setting="value")`."""
    with ExitStack() as stack:

        def start(*engines: str, workers: int = 1, **settings: str) -> Gate:
            return stack.enter_context(
                open_gate(sqlite_template, tmp_path, list(engines), workers=workers, **settings)
            )

        yield start
