"""The capture rate on a real vLLM: `python -m tests.vllm.capture` starts one, and captures on it.

Owns the command line. The exit status is 1 where a difference is not explained.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from chaos.capture import Plan, capture
from chaos.captured import shown
from race.databases import databases
from tests.vllm.serve import KINDS, servers


def main() -> int:
    asked = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(asked.streams, asked.kills, asked.at_once, asked.seed)
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="capture")))
        kinds = stack.enter_context(databases())
        url, model = asked.engine, asked.model
        if url is None:
            (server,) = stack.enter_context(servers(["chat"], logs))
            url, model = server.url, server.model
        result = capture(kinds, url, model, plan)
    print(shown(result))
    return 1 if result.violations else 0


def _parser() -> argparse.ArgumentParser:
    plan = Plan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=plan.streams, metavar="N")
    parser.add_argument("--kills", type=int, default=plan.kills, metavar="N")
    parser.add_argument("--at-once", type=int, default=plan.at_once, metavar="N", help="streams of a group")
    parser.add_argument("--seed", type=int, default=plan.seed, metavar="N")
    parser.add_argument("--engine", metavar="URL", help="one that runs already and that nobody else uses")
    parser.add_argument("--model", default=KINDS["chat"].model, metavar="NAME", help="that it serves")
    return parser


if __name__ == "__main__":
    sys.exit(main())
