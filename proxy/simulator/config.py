"""What a simulated engine is told at its start (pure)."""

from dataclasses import dataclass, field
from pathlib import Path

from proxy.simulator.faults import Fault


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """One simulated engine. Names and defaults follow vLLM's own options where it has one."""

    models: tuple[str, ...] = ("simulated",)
    # 0: as fast as possible. Rate of each sequence, as a client sees it, not of the engine.
    tokens_per_second: float = 50.0
    first_token_delay_ms: float = 0.0
    max_model_len: int = 8192
    max_num_seqs: int = 1024
    # None: any number may wait; else what more comes is refused with 503, as with --max-num-queued-reqs.
    max_num_queued: int | None = None
    api_keys: tuple[str, ...] = ()
    prompt_tokens_details: bool = False
    # vLLM's block is 128 tokens on CPU and 16 on GPU; only whole blocks are cached.
    block_size: int = 128
    force_include_usage: bool = False
    request_id_headers: bool = False
    reasoning: bool = False
    auto_tool_choice: bool = True
    # "any" serves both families; vLLM itself serves one: the other's paths are 404.
    task: str = "any"
    embedding_size: int = 64
    # 0: none, as is vLLM's default.
    sse_keep_alive_interval_ms: float = 0.0
    faults: tuple[Fault, ...] = field(default_factory=tuple)
    # How many calls /simulator/calls remembers; older ones are only in the totals.
    calls_kept: int = 20_000
    # Where every call's account is kept as it grows, so that kill -9 leaves it; None: in memory only.
    account_file: Path | None = None
    # How many blocks the prefix cache remembers.
    blocks_kept: int = 65_536
    # The system_fingerprint: vLLM's version and a hash of its configuration.
    fingerprint: str = "vllm-0.32.0-51a70b17"
