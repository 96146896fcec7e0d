"""The documented ratios: page and gate share them, and the gate shuts on gross regressions."""

from __future__ import annotations

import pytest

from bench.documented import PAGE, page_with, ratios, ratios_of, regressions
from bench.figures import Recorded, Round, Run
from bench.rows import rows

_PASSED = Recorded(1, 24)


def _run(ours_us: float) -> Run:
    run = Run(about={"date": "2026-11-28"}, baseline="nginx")
    for subject, value in (("nginx", 10.0), ("metergate", ours_us), ("litellm", 9000.0)):
        figures = {"cpu_us_per_request": value, "requests_per_s": 1e6 / value}
        run.rounds.append(Round(subject, "abc", 1, figures, _PASSED, None))
    return run


@pytest.mark.parametrize(("ours_us", "past"), [(40.0, 0), (80.0, 0), (80.2, 1), (200.0, 1)])
def test_the_gate_shuts_at_twice_the_documented_ratio(ours_us: float, past: int) -> None:
    """A slip on a busy machine must not stop a change; a doubled cost must."""
    said = regressions(_run(ours_us), {"metergate": {"cpu_us_per_request": 4.0}})
    assert len(said) == past
    assert all(f"cpu_us_per_request is {ours_us / 10:.2f} times nginx's" in line for line in said)


def test_only_our_own_cpu_figures_are_gated() -> None:
    """Wall time on a busy machine, and what others do, is not ours to answer for."""
    assert ratios_of(_run(40.0)) == {"metergate": {"cpu_us_per_request": 4.0}}


def test_what_is_not_documented_is_not_gated() -> None:
    assert regressions(_run(4000.0), {}) == []


def test_the_page_tells_the_ratios_that_the_gate_holds() -> None:
    """Else the page promises what nobody checks."""
    titles = {row.name: row.title for row in rows((128, 512, 2000))}
    lines = PAGE.read_text().splitlines()
    assert set(ratios()) == {"metergate", "metergate-postgresql"}
    for subject, figures in ratios().items():
        header = next(line for line in lines if line.startswith("| | nginx | metergate |"))
        column = [cell.strip() for cell in header.split("|")].index(subject)
        for figure, ratio in figures.items():
            line = next(line for line in lines if line.startswith(f"| {titles[figure]} |"))
            assert f"**{ratio:.2f}x**" in line.split("|")[column], (subject, figure)


def test_a_run_replaces_the_pages_table_and_nothing_else() -> None:
    page = PAGE.read_text()
    changed = page_with(page, _run(40.0))
    assert (
        "| CPU per unstreamed request at full load, us | 10.0 | 40.0 **4.00x** | 9000.0 **900.00x** |"
        in changed
    )
    start, end = changed.index("<!-- the table"), changed.index("<!-- the end of the table")
    assert page.startswith(changed[:start])
    assert page.endswith(changed[end:])
