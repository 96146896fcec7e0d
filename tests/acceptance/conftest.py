"""What the acceptance tests run against: an engine, and metergate before it, both as users start them.

Each test that asks for `engine` or `metergate` runs once on the simulator, and once on a real vLLM where
METERGATE_TEST_VLLM=1 says that there is one (`make test-vllm`). METERGATE_TEST_VLLM_URLS=CHAT,EMBEDDINGS uses
servers that run already (`python -m tests.vllm.serve chat embed`) instead of starting its own.
"""

import os
from collections.abc import Iterator

import pytest

from tests.acceptance import running
from tests.acceptance.running import Engine, Metergate
from tests.vllm.serve import KINDS, servers

WANTED = os.environ.get("METERGATE_TEST_VLLM") == "1"


@pytest.fixture(scope="session", params=["simulator", pytest.param("vllm", marks=pytest.mark.vllm)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "simulator":
        with running.simulator(folder) as simulated:
            yield simulated
        return
    if not WANTED:
        pytest.skip("needs a real vLLM: make test-vllm")
    names = (KINDS["chat"].model, KINDS["embed"].model)
    if given := os.environ.get("METERGATE_TEST_VLLM_URLS"):
        chat_url, embedding_url = given.split(",")
        yield Engine("vllm", chat_url, embedding_url, *names)
        return
    with servers(["chat", "embed"], folder) as (chat, embedding):
        yield Engine("vllm", chat.url, embedding.url, *names)


@pytest.fixture(scope="session")
def metergate(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metergate]:
    """One metergate for every test that only asks; a test that counts or breaks things starts its own."""
    with running.metergate(engine.urls, tmp_path_factory.mktemp("metergate")) as started:
        yield started
