"""What the simulated model writes (pure): sentences that follow from prompt, seed and choice.

Sentences come from a small grammar; one 64-bit state a sentence, moved on by splitmix64. One sentence in
eight ends in an emoji, whose four bytes are four tokens, so that streams hold chunks without text, as real
ones do.
"""

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from proxy.simulator import vocabulary
from proxy.simulator.vocabulary import EOS
from proxy.simulator.words import ADJECTIVES, NOUNS, OPENINGS, PLACES, VERBS

_MASK = (1 << 64) - 1
_EMOJI = ("🌊", "🌿", "⛵️", "🕯️")


def seed_of(prompt: Sequence[int], seed: int | None, choice: int) -> int:
    """The 64-bit state that a choice starts from."""
    digest = blake2b(array("Q", prompt).tobytes(), digest_size=8)
    digest.update(f"{seed}/{choice}".encode())
    return int.from_bytes(digest.digest(), "little")


def next_state(state: int) -> int:
    """splitmix64 (Steele, Lea, Flood 2014)."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def _ids(words: Sequence[str]) -> tuple[int, ...]:
    return tuple(vocabulary.word(" " + word) for word in words)


_THE, _A, _AND = _ids(("the", "a", "and"))
_ADJECTIVE_IDS = _ids(ADJECTIVES)
_NOUN_IDS = _ids(NOUNS)
_VERB_IDS = _ids(VERBS)
_PLACE_IDS = _ids(PLACES)
_OPENING_IDS = _ids(OPENINGS)
_FIRST_OPENING_IDS = tuple(vocabulary.word(word) for word in OPENINGS)
_STOP, _COMMA = vocabulary.word("."), vocabulary.word(",")
_EMOJI_IDS = tuple(tuple(vocabulary.encode(" " + emoji)) for emoji in _EMOJI)


def _pick(ids: tuple[int, ...], bits: int) -> int:
    return ids[bits % len(ids)]


def sentence(state: int, first: bool) -> list[int]:
    """Eleven to twenty tokens, ending in a full stop or an emoji."""
    openings = _FIRST_OPENING_IDS if first else _OPENING_IDS
    ids = [
        _pick(openings, state),
        _THE,
        _pick(_ADJECTIVE_IDS, state >> 4),
        _pick(_NOUN_IDS, state >> 9),
        _pick(_VERB_IDS, state >> 15),
        _A,
        _pick(_ADJECTIVE_IDS, state >> 20),
        _pick(_NOUN_IDS, state >> 25),
    ]
    if state >> 31 & 1:
        ids += (_COMMA, _AND, _pick(_VERB_IDS, state >> 33), _THE, _pick(_NOUN_IDS, state >> 37))
    ids += (_pick(_PLACE_IDS, state >> 43), _THE, _pick(_NOUN_IDS, state >> 47), _STOP)
    if state >> 53 & 7 == 0:
        ids += _EMOJI_IDS[(state >> 57) % len(_EMOJI_IDS)]
    return ids


def prose(state: int, *, min_tokens: int = 0, endless: bool = False) -> Iterator[int]:
    """Three to ten sentences and the end token; `endless` (ignore_eos) never ends."""
    sentences = 3 + state % 8
    written = count = 0
    while True:
        state = next_state(state)
        ids = sentence(state, first=count == 0)
        yield from ids
        count += 1
        written += len(ids)
        if not endless and count >= sentences and written >= min_tokens:
            yield EOS
            return


def fixed(ids: Sequence[int]) -> Iterator[int]:
    """Text that was decided beforehand (structured output, tool calls), and the end token."""
    yield from ids
    yield EOS
