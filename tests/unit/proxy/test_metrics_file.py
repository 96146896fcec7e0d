"""Where a worker's counters lie: ledger/counters.py and prometheus-client's mapped file."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from ledger.counters import FILE_BYTES

ROOT = Path(__file__).parents[3]

COUNT = """
import asyncio
from proxy.metrics import Metrics

async def count():
    metrics = Metrics()
    await metrics.start()
    metrics.answered("chat.completions", 200)
    await metrics.stop()

asyncio.run(count())
"""


def counted(folder: Path) -> Path:
    """The file of a process that counted one request; it reads the folder's name when it is imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", COUNT], env=environment, check=True, timeout=60)
    (file,) = folder.iterdir()
    return file


def test_the_mapped_file_has_no_holes(tmp_path: Path) -> None:
    """A worker whose disk filled up was killed by SIGBUS at its next count, with every stream it carried."""
    file = counted(tmp_path).stat()
    assert file.st_blocks * 512 >= file.st_size == FILE_BYTES


def test_the_file_is_one_that_prometheus_client_reads(tmp_path: Path) -> None:
    """Filled under another name, or with what it does not take for empty, nothing would be counted."""
    counts = {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(str(counted(tmp_path)))}
    assert list(counts.values()) == [1.0]
