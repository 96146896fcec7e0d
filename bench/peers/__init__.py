"""The peers: one recipe a module, which says how it is installed, configured and started, and what it does.

Rules: a recipe's configuration is its shipped one but for what the benchmark cannot do without (ports, the
engine's address, rate limits that would refuse the load, logs of every call); what it leaves off is said in
`does`. Versions are pinned. Must not know how they are measured.

    python -m bench.peers install [NAME ...]     into ./.bench-peers/NAME; without names, all of them
    python -m bench.peers list                   what each is, and whether it is installed
"""

from __future__ import annotations

from bench.peers.ferrogw import Ferrogw
from bench.peers.litellm import LiteLLM
from bench.peers.peer import Peer
from bench.peers.portkey import Portkey
from bench.peers.vllm_router import VllmRouter

PEERS: dict[str, type[Peer]] = {each.name: each for each in (LiteLLM, Portkey, VllmRouter, Ferrogw)}
