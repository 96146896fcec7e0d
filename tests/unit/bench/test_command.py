"""The command's exit status: what a failed step, a wrong ledger and a gross regression come to."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench.documented import ratios
from bench.figures import Recorded, Round, Run

_PASSED = Recorded(10, 240)
_FIGURE = "cpu_us_per_request"


def _run(factor: float = 1.0, **changed: Any) -> Run:
    """nginx, and metergate at `factor` times what is documented."""
    ratio = ratios()["metergate"][_FIGURE]
    run = Run(about={}, baseline="nginx")
    run.rounds.append(Round("nginx", "1", 1, {_FIGURE: 10.0}, _PASSED, None))
    ours = {"recorded": _PASSED, "failures": {}} | changed
    run.rounds.append(Round("metergate", "a", 1, {_FIGURE: 10.0 * ratio * factor}, _PASSED, **ours))
    return run


@pytest.mark.parametrize(
    ("run", "gate", "status"),
    [
        (_run(), True, 0),
        (_run(1.9), True, 0),
        (_run(2.1), True, 1),
        (_run(2.1), False, 0),
        (_run(recorded=Recorded(9, 216)), True, 1),
        (_run(recorded=Recorded(9, 216)), False, 1),
        (_run(recorded=Recorded(11, 264)), True, 1),
        (_run(failures={"burst": "cut off"}), True, 1),
    ],
)
def test_the_status_says_whether_the_run_is_good(
    run: Run, gate: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI goes by nothing else: a gate that prints and passes is none."""
    monkeypatch.setattr(command.wrk, "is_installed", lambda: True)
    monkeypatch.setattr(command, "priority", lambda: nullcontext(True))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command.rounds, "run", lambda *_: run)
    assert command.main(["--save", str(tmp_path), *(["--gate"] if gate else [])]) == status
    assert len(list(tmp_path.iterdir())) == 2
