"""A run's finding as `--json` writes it."""

import json

from chaos.__main__ import _plain
from chaos.finding import Finding
from chaos.judge import Verdict
from chaos.schedule import Kind


def test_a_finding_is_json_with_all_its_counts() -> None:
    """Guards against chaos whose file cannot be written: dataclasses copy a Counter wrongly."""
    verdict = Verdict(by_ending={("finished", "final"): (2, 30)})
    verdict.behind["killed after its last count"] = 7
    verdict.without_row["made nothing"] = 3
    finding = Finding(1, "sqlite", verdict, {Kind.DRAIN: 5}, {"locked": 1}, 4, 2, 0, True, 9.5)
    told = json.loads(json.dumps(_plain(finding)))["verdict"]
    assert told["by_ending"] == {"finished final": [2, 30]}
    assert (told["behind"], told["without_row"]) == (dict(verdict.behind), dict(verdict.without_row))
