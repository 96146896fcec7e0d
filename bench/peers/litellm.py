"""LiteLLM's proxy: Python, from PyPI, without a database: one worker, its master key as the only key."""

from __future__ import annotations

from bench.peers.peer import RECIPES, Peer, install_from_pypi
from bench.wire import MODEL


class LiteLLM(Peer):
    """litellm[proxy] as its quick start has it."""

    name = "litellm"
    does = "one master key; no limits, no ledger (both need a database, which this has not)"
    elsewhere = "pip install 'litellm[proxy]'"
    version = "1.108.7"
    program = "bin/litellm"
    usage_event = True  # none, but the finish comes in an event of its own: the same number of them

    @classmethod
    def install(cls) -> None:
        install_from_pypi(cls.home(), RECIPES / "litellm.txt")

    def command(self) -> list[str]:
        program = str(self.home() / self.program)
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        config = ["--config", str(self.folder / "config.yaml")]
        return [program, *config, *where, "--num_workers", "1", "--telemetry", "False"]

    def environ(self) -> dict[str, str]:
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}

    def files(self) -> dict[str, str]:
        config = f"""\
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: hosted_vllm/{MODEL}
      api_base: {self.engine_url}/v1
      api_key: none
general_settings:
  master_key: {self.key}
"""
        return {"config.yaml": config}
