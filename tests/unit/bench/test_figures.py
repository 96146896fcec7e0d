"""Medians, spreads and ratios over rounds, and the report made of them."""

from __future__ import annotations

import pytest

from bench.figures import Round, Run, percentile
from bench.tables import document, markdown


def _run() -> Run:
    run = Run(about={"machine": "a test"}, baseline="nginx")
    for number, (base, ours) in enumerate([(20.0, 80.0), (25.0, 90.0), (30.0, 190.0)], start=1):
        run.rounds.append(
            Round("nginx", "1.22", number, {"cpu_us_per_request": base}, calls=10, recorded=None)
        )
        run.rounds.append(
            Round("metergate", "abc", number, {"cpu_us_per_request": ours}, calls=10, recorded=10)
        )
    return run


def test_a_ratio_is_of_medians() -> None:
    """One disturbed round must not carry the ratio away."""
    summary = _run().summary("metergate", "cpu_us_per_request")
    assert summary is not None
    assert (summary.median, summary.lowest, summary.highest, summary.ratio) == (90.0, 80.0, 190.0, 3.6)


def test_a_figure_nobody_measured_has_no_summary() -> None:
    assert _run().summary("metergate", "added_p50_us") is None


def test_without_the_baseline_there_are_figures_but_no_ratios() -> None:
    """nginx is not installed everywhere."""
    run = Run(about={}, baseline="nginx")
    run.rounds.append(Round("metergate", "abc", 1, {"cpu_us_per_request": 80.0}, calls=1, recorded=1))
    summary = run.summary("metergate", "cpu_us_per_request")
    assert summary is not None
    assert (summary.median, summary.ratio) == (80.0, None)
    assert "80.0" in markdown(run)


def test_the_report_shows_medians_spreads_and_ratios() -> None:
    report = markdown(_run())
    assert (
        "| CPU per unstreamed request at full load, us | 25.0 [20.0..30.0] | 90.0 [80.0..190.0] **3.60x** |"
        in report
    )
    assert report.count("every call is there") == 3


def test_a_ledger_that_lacks_a_call_is_shouted() -> None:
    """Fast and wrong is not a result."""
    run = _run()
    run.rounds.append(Round("metergate", "abc", 4, {}, calls=10, recorded=9))
    assert "9 rows for 10 calls: **CALLS MISSING OR TOO MANY**" in markdown(run)


@pytest.mark.parametrize(
    ("figures", "marked"),
    [
        ({"paced_core_share": 0.3, "paced_events_per_read": 4.9, "paced_pace_share": 0.8}, True),
        ({"paced_core_share": 0.3, "paced_events_per_read": 1.0, "paced_pace_share": 0.8}, True),
        ({"paced_core_share": 0.3, "paced_events_per_read": 1.0, "paced_pace_share": 1.0}, False),
        ({"paced_core_share": 0.99, "paced_events_per_read": 4.9, "paced_pace_share": 0.8}, False),
        ({}, False),
    ],
)
def test_a_round_on_a_starved_machine_is_marked(figures: dict[str, float], marked: bool) -> None:
    """Chunks that bunch up look cheap; a subject at its own limit is another matter."""
    run = _run()
    run.rounds.append(Round("nginx", "1.22", 4, figures, calls=10, recorded=None))
    assert ("nginx, round 4: the machine was too busy" in markdown(run)) is marked


def test_the_document_keeps_every_round() -> None:
    made = document(_run())
    assert len(made["rounds"]) == 6
    assert made["summaries"]["metergate"]["cpu_us_per_request"]["ratio"] == 3.6


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], share) == value
