"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> dict[str, object]:
    """Its processor, cores and kernel, and the Python."""
    model = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    kernel = f"{platform.system()} {platform.release()}"
    return {
        "machine": f"{model.partition(':')[2].strip()}, {os.cpu_count()} cores, {kernel}",
        "python": platform.python_version(),
    }
