"""Fixtures and rules shared by every test.

One rule: where CI=true, a test that skips has failed. CI installs all that the tests need, so a skip there
would be a promise nobody looked at. Tests marked `vllm` are let off, unless the run is theirs (-m vllm).
"""

import os
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Hundreds of processes are started: each would compile all that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No judgement by the clock: how long an example takes says more of the machine's other work than of the code.
settings.register_profile("metergate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("metergate"), max_examples=100, database=None)
settings.load_profile("metergate")

NO_SKIPS = os.environ.get("CI") == "true"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure (an expected failure also reports as skipped and stays what it is)."""
    report = yield
    let_off = item.get_closest_marker("vllm") is not None and item.config.option.markexpr != "vllm"
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail") and not let_off:
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI takes no skips: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    if NO_SKIPS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI takes no skips: {report.longrepr}"
    return report
