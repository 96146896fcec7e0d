"""The prefix cache: which blocks of prompts were seen before. Bounded: the least recently used goes first.

Only whole blocks are cached, at least one token of a prompt is always computed, and a cache_salt has blocks
of its own.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from proxy.simulator.usage import CacheUse


class PrefixCache:
    """Shared by all requests of one engine."""

    def __init__(self, block_size: int, blocks_kept: int) -> None:
        self._block_size = block_size
        self._blocks_kept = blocks_kept
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, model: str, prompt: Sequence[int], salt: str | None) -> CacheUse:
        """Counts what is there and puts in what is not."""
        size = self._block_size
        if len(prompt) < size:
            return CacheUse()
        digest = blake2b(f"{model}\0{salt}".encode(), digest_size=16)
        keys = []
        for start in range(0, len(prompt) - size + 1, size):
            digest.update(array("Q", prompt[start : start + size]).tobytes())
            keys.append(digest.digest())
        usable = (len(prompt) - 1) // size
        hits = 0
        while hits < usable and keys[hits] in self._blocks:
            hits += 1
        created = sum(key not in self._blocks for key in keys)
        for key in keys:
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._blocks_kept:
            self._blocks.popitem(last=False)
        return CacheUse(hits * size, created * size)
