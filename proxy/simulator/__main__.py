"""`python -m proxy.simulator`: the command line of one simulated engine.

Prints one line when it listens. Writes `ready` to the pipe METERGATE_READY_FD once it answers; stops when the
pipe METERGATE_LIFE_FD ends, for then the process that started it is gone.
"""

import argparse
import asyncio
import socket
import sys
from pathlib import Path

import msgspec

from ledger import lifeline
from proxy.simulator.app import create_simulator
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.faults import Fault, decode_faults
from proxy.simulator.server import SimulatorServer, listen


def _parser() -> argparse.ArgumentParser:
    defaults = SimulatorConfig()
    parser = argparse.ArgumentParser(prog="python -m proxy.simulator", description="A vLLM look-alike.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8000)
    add("--fd", type=int, help="an inherited listening socket, instead of host and port")
    add("--model", action="append", metavar="NAME", help="a served model's name; repeatable")
    add("--task", choices=("any", "generate", "embed"), default=defaults.task)
    add(
        "--tokens-per-second",
        type=float,
        default=defaults.tokens_per_second,
        help="of each stream; 0: at once",
    )
    add("--first-token-delay-ms", type=float, default=defaults.first_token_delay_ms)
    add("--max-model-len", type=int, default=defaults.max_model_len)
    add("--max-num-seqs", type=int, default=defaults.max_num_seqs)
    add("--max-num-queued-reqs", type=int, default=defaults.max_num_queued)
    add("--api-key", action="append", metavar="KEY", default=[], help="repeatable")
    add("--enable-prompt-tokens-details", action="store_true")
    add("--enable-force-include-usage", action="store_true")
    add("--enable-request-id-headers", action="store_true")
    add("--disable-auto-tool-choice", action="store_true")
    add("--reasoning", action="store_true", help="the model thinks before it answers")
    add("--block-size", type=int, default=defaults.block_size, help="of the prefix cache, in tokens")
    add("--embedding-size", type=int, default=defaults.embedding_size)
    add("--sse-keep-alive-interval", type=float, default=0.0, metavar="SECONDS")
    add("--shutdown-timeout", type=int, default=5, metavar="SECONDS")
    add("--account-file", type=Path, metavar="FILE", help="keep every call's account there, whatever happens")
    add(
        "--fault",
        action="append",
        metavar="JSON",
        default=[],
        type=_faults,
        help="see proxy/simulator/faults.py",
    )
    return parser


def _faults(document: str) -> tuple[Fault, ...]:
    try:
        return decode_faults(document.encode())
    except msgspec.MsgspecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _config(given: argparse.Namespace) -> SimulatorConfig:
    return SimulatorConfig(
        models=tuple(given.model or SimulatorConfig().models),
        tokens_per_second=given.tokens_per_second,
        first_token_delay_ms=given.first_token_delay_ms,
        max_model_len=given.max_model_len,
        max_num_seqs=given.max_num_seqs,
        max_num_queued=given.max_num_queued_reqs,
        api_keys=tuple(given.api_key),
        prompt_tokens_details=given.enable_prompt_tokens_details,
        block_size=given.block_size,
        force_include_usage=given.enable_force_include_usage,
        request_id_headers=given.enable_request_id_headers,
        reasoning=given.reasoning,
        auto_tool_choice=not given.disable_auto_tool_choice,
        task=given.task,
        embedding_size=given.embedding_size,
        sse_keep_alive_interval_ms=1000 * given.sse_keep_alive_interval,
        account_file=given.account_file,
        faults=tuple(fault for faults in given.fault for fault in faults),
    )


def _listen(given: argparse.Namespace) -> socket.socket:
    try:
        return listen(given.host, given.port)
    except (OSError, OverflowError) as fault:
        reason = getattr(fault, "strerror", None) or "not a port"
        sys.exit(f"the simulator cannot listen on {given.host}:{given.port}: {reason}; choose another --port")


async def _run(given: argparse.Namespace) -> None:
    listening = _listen(given) if given.fd is None else socket.socket(fileno=given.fd)
    config = _config(given)
    server = SimulatorServer(create_simulator(config), listening, shutdown_timeout_s=given.shutdown_timeout)

    lifeline.on_end_of_supervisor(server.stop)
    serving = asyncio.ensure_future(server.serve())
    await asyncio.wait(
        (serving, asyncio.ensure_future(server.answers.wait())), return_when=asyncio.FIRST_COMPLETED
    )
    if server.answers.is_set():
        host, port = server.listening_on
        sys.stdout.write(
            f"simulated engine listening on http://{host}:{port} models={','.join(config.models)}\n"
        )
        sys.stdout.flush()
        lifeline.say_ready()
    await serving


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    import uvloop  # noqa: PLC0415 - the command line's help needs no event loop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
