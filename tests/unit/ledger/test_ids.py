"""Ids: their shape, and the order of request ids."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import new_id, new_request_id

MICROS = st.integers(min_value=0, max_value=16**14 - 1)


@given(MICROS, MICROS)
def test_request_ids_sort_as_text_by_their_time(first_us: int, second_us: int) -> None:
    """Guards against ids that scatter over the index, and that could not cut a table by month."""
    first, second = new_request_id(first_us), new_request_id(second_us)
    if first_us != second_us:
        assert (first < second) == (first_us < second_us)


def test_a_request_id_has_its_shape_and_is_new() -> None:
    """Guards against a shape that apps' patterns refuse: req_ and 32 hex digits, as OpenAI's."""
    ids = {new_request_id(5) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", one) for one in ids)


def test_an_id_has_its_prefix() -> None:
    """Guards against an id that does not say what it is of."""
    assert re.fullmatch(r"proj_[0-9A-Za-z]{24}", new_id("proj_"))
