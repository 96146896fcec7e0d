"""The tour again with the client's next major version, in an environment of its own: both are in use."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.comparing import assert_same
from tests.acceptance.running import Engine, Metergate, clean_environment
from tests.acceptance.sdk_tour import STOPS
from tests.environments import cached

VERSION = "3.54.0"
TOUR = Path(__file__).with_name("sdk_tour.py")


def tour(base_url: str, api_key: str, engine: Engine) -> dict[str, Any]:
    environment = cached(f"openai-{VERSION}", lambda made: made.install(f"openai=={VERSION}"))
    done = subprocess.run(
        [environment.python, TOUR, base_url, api_key, engine.chat_model, engine.embedding_model],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    came_home: dict[str, Any] = json.loads(done.stdout)
    assert came_home["version"] == VERSION
    stops: dict[str, Any] = came_home["stops"]
    return stops


@pytest.fixture(scope="module")
def at_engine(engine: Engine) -> dict[str, Any]:
    answers = tour(f"{engine.chat_url}/v1", "none", engine)
    if engine.embedding_url != engine.chat_url:
        embeddings = tour(f"{engine.embedding_url}/v1", "none", engine)
        answers |= {stop: embeddings[stop] for stop in STOPS if stop.startswith("embedding")}
    return answers


@pytest.fixture(scope="module")
def through(engine: Engine, metergate: Metergate) -> dict[str, Any]:
    return tour(metergate.base_url, metergate.api_key, engine)


@pytest.mark.parametrize("stop", STOPS)
def test_the_answer_is_the_engines(
    engine: Engine, at_engine: dict[str, Any], through: dict[str, Any], stop: str
) -> None:
    """Guards what the next version reads otherwise than the last; no stop may fail at either end."""
    assert isinstance(at_engine[stop], dict), at_engine[stop]
    assert_same(at_engine[stop], through[stop], engine.kind)
