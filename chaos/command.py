"""metergate's own commands, asked as an operator asks them: what it says of its ledger when all is over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from race.processes import ROOT, outside

_COMMAND_S = 120.0


def ask(data: Path, database_url: str, *words: str) -> tuple[int, dict[str, Any], str]:
    """(exit status, the JSON document, what it complained) of `metergate WORDS --json`."""
    command = [sys.executable, "-P", "-m", "admin", *words, "--json"]
    where = ["--data-dir", str(data), "--database-url", database_url]
    done = subprocess.run(
        [*command, *where],
        env=outside(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def verified(data: Path, database_url: str) -> tuple[dict[str, int], list[str]]:
    """({check: how much it looked at}, what `metergate ledger verify` found wrong)."""
    status, document, complaint = ask(data, database_url, "ledger", "verify")
    checks = document.get("checks", [])
    wrong = [f"{check['check']}: {check['shown'][:3]}" for check in checks if check["faults"]]
    if status and not wrong:
        wrong = [complaint.strip() or f"exit status {status}"]
    return {check["check"]: check["looked_at"] for check in checks}, wrong
