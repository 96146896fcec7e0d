"""The simulator's tokenizer (pure): text to token ids and back, exactly.

Ids in order: four specials, the 256 single bytes, letter pairs with and without a leading space, then whole
words with and without a leading space. Known words are one token, unknown ones fall apart into letter pairs,
everything else into bytes: any text survives the round trip, and counts are near a real tokenizer's (about
four characters a token). A token may be a part of a UTF-8 character, as with real engines. It must not know
requests or HTTP.
"""

import codecs
import re
from collections.abc import Iterable

from proxy.simulator.words import ADJECTIVES, COMMON, NOUNS, OPENINGS, PLACES, VERBS

BOS, START, END, PAD = 0, 1, 2, 3
EOS = END
SPECIALS = ("<|begin|>", "<|im_start|>", "<|im_end|>", "<|pad|>")

_FIRST_BYTE = len(SPECIALS)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PIECES = re.compile(r" ?[^\W\d_]+|.", re.DOTALL)


def _pieces_of_the_vocabulary() -> list[bytes]:
    pieces = [name.encode() for name in SPECIALS]
    pieces += [bytes((value,)) for value in range(256)]
    pairs = [first + second for first in _LETTERS for second in _LETTERS]
    pieces += [pair.encode() for pair in pairs]
    pieces += [b" " + pair.encode() for pair in pairs]
    words = dict.fromkeys([*COMMON, *ADJECTIVES, *NOUNS, *VERBS, *PLACES, *OPENINGS])
    seen = set(pieces)
    for word in words:
        for piece in (word.encode(), b" " + word.encode()):
            if piece not in seen:
                seen.add(piece)
                pieces.append(piece)
    return pieces


PIECES: tuple[bytes, ...] = tuple(_pieces_of_the_vocabulary())
SIZE = len(PIECES)
# What a token adds to a text when nothing is pending: None where it is a part of a character.
TEXTS: tuple[str | None, ...] = tuple(
    None if len(piece) == 1 and piece[0] >= 0x80 else piece.decode() for piece in PIECES
)
_IDS: dict[bytes, int] = {piece: token for token, piece in enumerate(PIECES) if token >= _FIRST_BYTE}
_WORD_IDS: dict[str, int] = {
    piece.decode(): token for piece, token in _IDS.items() if TEXTS[token] is not None
}


def encode(text: str) -> list[int]:
    """The token ids of a text. Lone surrogates, which UTF-8 cannot carry, become question marks."""
    ids: list[int] = []
    for piece in _PIECES.findall(text):
        known = _WORD_IDS.get(piece)
        if known is not None:
            ids.append(known)
        else:
            _fall_apart(piece.encode("utf-8", "replace"), ids)
    return ids


def _fall_apart(piece: bytes, ids: list[int]) -> None:
    """Longest known parts first: space and pair, pair, single byte."""
    at = 0
    while at < len(piece):
        for length in (3, 2, 1):
            token = _IDS.get(piece[at : at + length])
            if token is not None:
                ids.append(token)
                at += len(PIECES[token])
                break


def word(text: str) -> int:
    """The id of a text that is one token. KeyError where it is not."""
    return _WORD_IDS[text]


def decode(ids: Iterable[int]) -> str:
    """The text of token ids; specials read as their names, broken characters as U+FFFD."""
    return b"".join(PIECES[token] for token in ids).decode("utf-8", "replace")


class Detokenizer:
    """Text as tokens come: an incomplete character adds nothing until its last byte is there."""

    __slots__ = ("_decoder", "_pending")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = False

    def add(self, token: int) -> str:
        text = TEXTS[token]
        if text is not None and not self._pending:
            return text
        out = self._decoder.decode(PIECES[token])
        self._pending = bool(self._decoder.getstate()[0])
        return out

    def rest(self) -> str:
        """What an unfinished character becomes at the end."""
        self._pending = False
        return self._decoder.decode(b"", final=True)
