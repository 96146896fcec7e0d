"""What a real engine generates is in the ledger, whatever becomes of the clients and of the workers."""

import pytest

from chaos.capture import Plan, capture
from chaos.captured import shown
from race.databases import databases
from tests.acceptance.running import Engine

PLAN = Plan(streams=40, kills=2, at_once=4)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", [pytest.param("vllm", marks=pytest.mark.vllm)], indirect=True)
def test_every_difference_to_the_engines_counter_is_explained(engine: Engine) -> None:
    """Guards against tokens that vLLM made and nobody is billed for; `make capture` has 300 streams."""
    with databases() as kinds:
        result = capture(kinds, engine.chat_url, engine.chat_model, PLAN)
    assert not result.violations, shown(result)
    assert result.kills == PLAN.kills, shown(result)
