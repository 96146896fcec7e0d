"""The gauge of the ledger in prometheus-client's shared files."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

ROOT = Path(__file__).parents[3]

TELL = """
import sys
from proxy.ledger_gauge import LedgerGauge
gauge = LedgerGauge(int(sys.argv[1]))
gauge.start(is_up=sys.argv[2] == "up")
gauge.set(sys.argv[3] == "up")
"""


def tell(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", TELL, *arguments], env=environment, check=True, timeout=60)


def test_a_worker_that_is_started_again_goes_on_with_its_series(tmp_path: Path) -> None:
    """Guards against a worker killed in an outage whose last word says for ever that the ledger is away, and
    against a mapped hole, which is SIGBUS when the disk is full.
    """
    tell(tmp_path, "0", "up", "down")
    tell(tmp_path, "0", "down", "up")
    tell(tmp_path, "1", "up", "down")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    told = [registry.get_sample_value("metergate_ledger_up", {"worker": worker}) for worker in "01"]
    assert told == [1.0, 0.0]
    for path in tmp_path.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size
