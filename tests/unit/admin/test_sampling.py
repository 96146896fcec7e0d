"""An engine's metrics page, read for its counts."""

import pytest

from admin.sampling import CountsMissing, read_page
from proxy.simulator.metrics import Metrics

# As vLLM 0.32 writes it, with two data-parallel ranks and what else stands around.
PAGE = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79536663676e+09
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a \\"b\\" {c}"} 2.0
vllm:num_requests_running{engine="1",model_name="a \\"b\\" {c}"} 0.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a \\"b\\" {c}"} 3.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="a \\"b\\" {c}",reason="capacity"} 3.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a \\"b\\" {c}"} 40.0
vllm:prompt_tokens_total{engine="1",model_name="a \\"b\\" {c}"} 2.0
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{engine="0",model_name="a \\"b\\" {c}"} 1.7953667050616837e+09
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{engine="0",model_name="a \\"b\\" {c}",source="local_compute"} 40.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a \\"b\\" {c}"} 1.2345678e+07
"""
TOKENS = {"vllm:prompt_tokens_total": 42, "vllm:generation_tokens_total": 12_345_678}


def test_counts_are_added_up_over_ranks() -> None:
    """Guards against one rank's count taken for the engine's, and a counter taken for its neighbour."""
    started_us, counts = read_page(PAGE)
    (model,) = counts
    assert model == 'a "b" {c}'
    assert (started_us, counts[model].created_us) == (1_795_366_636_760_000, [1_795_366_705_061_683])
    assert (counts[model].tokens, counts[model].in_flight) == (TOKENS, 5)


def test_the_simulators_page_is_read_alike() -> None:
    """Guards against a simulator that only looks like vLLM to us."""
    metrics = Metrics(("one", "two"), 1_795_366_636.5)
    metrics.models["two"].prefilled(7, 0)
    metrics.models["two"].generation_tokens += 3
    metrics.models["one"].num_requests_running += 1
    started_us, counts = read_page(metrics.render().decode())
    assert started_us == 1_795_366_636_500_000
    assert list(counts["two"].tokens.values()) == [7, 3]
    assert counts["two"].created_us == [started_us] * 2
    assert (counts["one"].in_flight, counts["two"].in_flight) == (1, 0)


def test_a_page_that_tells_no_start_is_read() -> None:
    """Guards against several API servers behind one page, which leave it out."""
    page = "\n".join(line for line in PAGE.splitlines() if "created" not in line and "process" not in line)
    started_us, counts = read_page(page)
    assert (started_us, [each.created_us for each in counts.values()]) == (0, [[]])


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<html>no such page</html>",
        PAGE.replace("vllm:generation_tokens_total", "vllm:other"),
        PAGE.replace("40.0", "forty"),
        PAGE.replace("40.0", "NaN"),
        PAGE.replace("40.0", "+Inf"),
        PAGE.replace("model_name", "name"),
        PAGE.replace('"} 2.0', "2.0"),
    ],
)
def test_a_page_that_cannot_be_read_is_said(page: str) -> None:
    """Guards against zero taken for an answer, and a worker that an engine's nonsense ends."""
    with pytest.raises(CountsMissing):
        read_page(page)
