"""The suite's own rule (tests/conftest.py), run by a real pytest over a tiny suite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

SUITE = """
import pytest

@pytest.mark.skip(reason="no nginx here")
def test_skipped(): ...

@pytest.mark.xfail(reason="known")
def test_expected_to_fail(): assert False
"""


def run_pytest(folder: Path, suite: str, *arguments: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    vllm: an engine\n")
    (folder / "test_it.py").write_text(suite)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_skip_fails_in_ci_and_an_expected_failure_does_not(tmp_path: Path) -> None:
    """Guards against a green CI in which half the suite skipped itself for lack of a tool."""
    result = run_pytest(tmp_path, SUITE, ci="true")
    assert result.returncode == 1
    assert "1 xfailed, 1 error" in result.stdout
    assert "no nginx here" in result.stdout


def test_a_skip_is_only_a_skip_elsewhere(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, SUITE, ci="")
    assert result.returncode == 0
    assert "1 skipped, 1 xfailed" in result.stdout


def test_a_module_that_skips_itself_fails_in_ci(tmp_path: Path) -> None:
    suite = "import pytest\npytest.skip('no engine', allow_module_level=True)\n"
    assert run_pytest(tmp_path, suite, ci="true").returncode != 0


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("-m", "vllm"), 1)])
def test_vllm_skips_count_only_in_the_vllm_run(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    suite = "import pytest\n@pytest.mark.vllm\n@pytest.mark.skip\ndef test_it(): ...\n"
    assert run_pytest(tmp_path, suite, *arguments, ci="true").returncode == code
