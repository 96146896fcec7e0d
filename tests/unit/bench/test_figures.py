"""Medians, spreads and ratios over rounds, and the report made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.documented import read
from bench.figures import Recorded, Round, Run, percentile
from bench.tables import document, markdown

_PASSED = Recorded(10, 240)


def _round(subject: str, number: int, figures: dict[str, float], **changed: Any) -> Round:
    recorded = _PASSED if subject == "metergate" else None
    return replace(Round(subject, "abc", number, figures, _PASSED, recorded), **changed)


def _run() -> Run:
    run = Run(about={"machine": "a test"}, baseline="nginx", does={"nginx": "passes bytes"})
    for number, (base, ours) in enumerate([(20.0, 80.0), (25.0, 90.0), (30.0, 190.0)], start=1):
        run.rounds.append(_round("nginx", number, {"cpu_us_per_request": base}))
        run.rounds.append(_round("metergate", number, {"cpu_us_per_request": ours}))
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
    run.rounds.append(_round("metergate", 1, {"cpu_us_per_request": 80.0}))
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
    assert report.count("every call and token is there") == 3
    assert "- nginx: passes bytes" in report


@pytest.mark.parametrize("recorded", [Recorded(9, 216), Recorded(11, 264), Recorded(10, 239)])
def test_a_ledger_that_is_wrong_is_shouted(recorded: Recorded) -> None:
    """Fast and wrong is not a result, be it by a call or by a token."""
    run = _run()
    run.rounds.append(_round("metergate", 4, {}, recorded=recorded))
    assert f"{recorded.calls} rows for 10 calls" in markdown(run)
    assert "**CALLS OR TOKENS MISSING, OR TOO MANY**" in markdown(run)
    assert not run.is_good


def test_calls_that_a_failed_step_gave_up_are_told_apart_and_the_run_is_not_good() -> None:
    """Who leaves before the first byte has no row; all others have one, whatever failed."""
    run = _run()
    run.rounds.append(_round("metergate", 4, {}, failures={"paced_2000": "not open"}, unanswered=5))
    told = "10 rows for 10 calls (5 more were given up before their first byte), 240 tokens of 240: every"
    assert told in markdown(run)
    assert not run.is_good
    for wrong in (Recorded(9, 240), Recorded(11, 240), Recorded(10, 239)):
        run.rounds[-1] = replace(run.rounds[-1], recorded=wrong)
        assert "**CALLS OR TOKENS MISSING, OR TOO MANY**" in markdown(run)


def test_streams_that_were_cut_are_judged_to_the_token() -> None:
    """A subject that loses what it was sent of a stream that nobody wants must not pass for right."""
    cut = {"paced_128_cut_streams": 3.0}
    assert _round("metergate", 1, cut).is_recorded
    assert not _round("metergate", 1, cut, recorded=Recorded(10, 7)).is_recorded


def test_a_step_that_failed_is_told_in_its_cell_and_the_run_is_not_good() -> None:
    """A cell left empty would look like something that does not apply."""
    run = _run()
    run.rounds.append(_round("litellm", 1, {}, failures={"unary": "3 of 5 calls failed"}))
    report = markdown(run)
    assert "| 90.0 [80.0..190.0] **3.60x** | failed |" in report
    assert "**litellm, round 1, unary: failed**: 3 of 5 calls failed" in report
    assert not run.is_good
    assert _run().is_good


def test_a_step_that_failed_once_is_told_beside_the_figure() -> None:
    run = _run()
    run.rounds.append(_round("metergate", 4, {}, failures={"unary": "cut off"}))
    assert "90.0 [80.0..190.0] **3.60x** (failed 1 times)" in markdown(run)


def test_saturation_is_told_in_the_cell() -> None:
    """A chunk is cheaper to who handles many that had to wait."""
    run = _run()
    run.rounds.append(
        _round("metergate", 4, {"paced_2000_cpu_us_per_chunk": 9.5, "paced_2000_kept_share": 0.43})
    )
    assert "| CPU per paced chunk, 2,000 streams, us |  | 9.50 (43% kept) |" in markdown(run)


@pytest.mark.parametrize(
    ("figures", "marked"),
    [
        ({"core_share": 0.3, "events_per_read": 4.9, "kept_share": 0.8}, True),
        ({"core_share": 0.3, "events_per_read": 1.0, "kept_share": 0.8}, True),
        ({"core_share": 0.3, "events_per_read": 1.0, "kept_share": 1.0}, False),
        ({"core_share": 0.99, "events_per_read": 4.9, "kept_share": 0.8}, False),
    ],
)
def test_a_round_on_a_starved_machine_is_marked(figures: dict[str, float], marked: bool) -> None:
    """Chunks that bunch up look cheap; a subject at its own limit is another matter."""
    run = _run()
    run.rounds.append(_round("nginx", 4, {f"paced_512_{name}": value for name, value in figures.items()}))
    assert ("nginx, round 4: the machine was too busy" in markdown(run)) is marked


@pytest.mark.parametrize(
    ("core", "load", "told"), [(0.5, 0.99, True), (0.95, 0.99, False), (0.5, 0.8, False)]
)
def test_a_load_that_was_the_limit_is_told(core: float, load: float, told: bool) -> None:
    """Requests a second of a subject that waits for the load say nothing of it."""
    run = _run()
    run.rounds.append(_round("nginx", 4, {"unary_core_share": core, "unary_load_share": load}))
    assert ("nginx, round 4: engine and load were the limit at full load" in markdown(run)) is told


def test_the_document_keeps_every_round() -> None:
    made = document(_run())
    assert len(made["rounds"]) == 6
    assert made["summaries"]["metergate"]["cpu_us_per_request"]["ratio"] == 3.6
    assert read(made) == _run()


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], share) == value
