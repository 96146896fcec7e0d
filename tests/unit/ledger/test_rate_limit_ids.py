"""Ids of rate limits: one for each model, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rate_limit_ids import id_of, model_of


@given(st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable()))
def test_a_name_comes_back_whole_and_fits_into_a_path(model: str) -> None:
    """Guards against a model with a slash, whose row could be listed and never updated."""
    rate_limit_id = id_of(model)
    assert model_of(rate_limit_id) == model
    assert not set(rate_limit_id) & set("/?#% ")


@pytest.mark.parametrize(
    "text", ["", "rl_", "x", "rl_a/b", "rl_~", "rl_~2f", "rl_~41", "rl_~FF", "rl_a~2", "RL_a"]
)
def test_what_is_no_id_is_none(text: str) -> None:
    """Guards against two ids of one model."""
    assert model_of(text) is None
