"""Start real vLLM servers on this machine's CPU, and end them with all that they started.

    python -m tests.vllm.serve chat embed      # serves until Ctrl-C, and says where

Owns how the tests start vLLM: its flags, the waiting until it answers, and its end. A server needs about 3
GB of memory and half a minute.

Rules: a server is a session of its own, and the whole process group is ended with it: a vLLM whose API
process is killed leaves its engine and worker running. Ports are the kernel's choice.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.environments import Environment, cache_dir
from tests.vllm.install import installed

CONTEXT_TOKENS = 1024
START_S = 240.0
STOP_S = 15.0

ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Two cores for everything: no thread is bound to one of its own.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # Without it the first call that asks for logprobs compiles for ten seconds and more.
    "TORCHDYNAMO_DISABLE": "1",
    # Nothing leaves this machine.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}

COMMON = (
    *("--host", "127.0.0.1", "--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", "16"),
    "--enforce-eager",
)
# The grammar leaves out optional white space, else a model that knows no language fills its answer with it.
CHAT = (
    *("--enable-prompt-tokens-details", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to serve the tiny model. `model` is the name that clients ask for."""

    model: str
    flags: tuple[str, ...]
    think: bool = False


KINDS = {
    "chat": Kind("tiny", CHAT),
    "think": Kind("tiny-think", (*CHAT, "--reasoning-parser", "qwen3"), think=True),
    "embed": Kind("tiny-embed", ("--runner", "pooling", "--convert", "embed")),
}


@dataclass(frozen=True, slots=True)
class Server:
    """A vLLM that answers. `url` has no path; `log` is where its output goes."""

    url: str
    model: str
    log: Path


def model_dir(environment: Environment, think: bool) -> Path:
    """The tiny model's folder, made at the first use and again when its recipe changes."""
    recipe = Path(__file__).with_name("tiny_model.py")
    digest = hashlib.sha256(recipe.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / f"tiny-{digest}{'-think' if think else ''}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    half_made = folder.with_name(f"{folder.name}.{os.getpid()}")
    command = [environment.python, recipe, half_made, *(("--think",) if think else ())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        half_made.rename(folder)
    except OSError:  # another run was quicker
        shutil.rmtree(half_made)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until_it_answers(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + START_S
    while not answers(server.url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-40:])
            raise RuntimeError(f"vLLM did not start; the end of {server.log}:\n{tail}")
        time.sleep(0.25)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, then SIGKILL to whatever of its group is left."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def started(
    kind_name: str, logs: Path, environment: Environment
) -> Iterator[tuple[Server, subprocess.Popen[bytes]]]:
    """A server that is starting: the caller waits with `wait_until_it_answers`, so that several may start
    at once.
    """
    kind = KINDS[kind_name]
    folder = model_dir(environment, kind.think)
    port = free_port()
    log = logs / f"vllm-{kind_name}.log"
    command = [str(environment.bin / "vllm"), "serve", str(folder), "--port", str(port)]
    command += ["--served-model-name", kind.model, *COMMON, *kind.flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
    try:
        yield Server(f"http://127.0.0.1:{port}", kind.model, log), process
    finally:
        end(process)


@contextlib.contextmanager
def servers(kind_names: list[str], logs: Path) -> Iterator[list[Server]]:
    """Servers that all answer."""
    environment = installed()
    with contextlib.ExitStack() as stack:
        starting = [stack.enter_context(started(name, logs, environment)) for name in kind_names]
        for server, process in starting:
            wait_until_it_answers(process, server)
        yield [server for server, _ in starting]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="+", choices=sorted(KINDS))
    parser.add_argument("--logs", type=Path, default=Path("/tmp"))
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background job starts with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), servers(arguments.kinds, arguments.logs) as running:
        for server in running:
            print(f"{server.model} at {server.url}, output in {server.log}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
