"""Which passwords are taken, and the form in which they are hashed. Pure.

Length is what counts (NIST SP 800-63B, 5.1.1.2): no rule asks for a digit or a sign. What is refused beside
the short ones is what guessers try first: the user's own e-mail address, the words of the service, the
commonest passwords, and one pattern over and over. It is a rule, not a list of the billion that leaked: the
throttle in front of a login (ledger/login_throttle.py) is what makes guessing the rest hopeless.

No message repeats a password.
"""

import re
import unicodedata
from typing import Final

from ledger.errors import Refused

CHARS_MIN: Final = 12
CHARS_MAX: Final = 1024  # hashing reads it whole; nobody types more
DISTINCT_MIN: Final = 5
OWN_CHARS_MIN: Final = 6
"""What has to be left when everything that is easily guessed is taken out."""
_PART_CHARS_MIN: Final = 3

# The stems of the commonest passwords, and runs along a keyboard and the alphabet.
_COMMON: Final = (
    "password", "passwort", "passphrase", "passw", "administrator", "administration", "admin", "metergate",
    "openai", "welcome", "letmein", "changeme", "change", "iloveyou", "sunshine", "princess", "football",
    "baseball", "superman", "batman", "dragon", "monkey", "master", "michael", "trustno", "whatever",
    "secret", "default", "temporary", "company", "summer", "winter", "spring", "autumn", "login",
    "qwertyuiop", "qwertzuiop", "qwerty", "qwertz", "azerty", "asdfghjkl", "asdfgh", "zxcvbnm", "yxcvbnm",
    "abcdefghijklmnopqrstuvwxyz", "abcdefgh", "abcdef", "abcd", "qazwsxedc", "qazwsx", "qweasdzxc", "asdf",
    "correcthorsebatterystaple",
)  # fmt: skip
_RUNS: Final = tuple(
    run[begin : begin + length]
    for run in ("01234567890", "09876543210")
    for length in range(len(run), 2, -1)
    for begin in range(len(run) - length + 1)
)
_WORDS: Final = re.compile("|".join(sorted(_COMMON, key=len, reverse=True)))
_NUMBERS: Final = re.compile("|".join([*sorted(_RUNS, key=len, reverse=True), "19[0-9]{2}", "20[0-9]{2}"]))
_SIGNS: Final = str.maketrans("@4$53017", "aasseolt")
_REPEATED: Final = re.compile(r"(.{1,8}?)\1{2,}")
_PARTS: Final = re.compile(r"[^a-z0-9]+")


def normalized(password: str) -> str:
    """The same text however a keyboard composes it (NFKC, NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def checked(password: str, email: str) -> str:
    """The password as it is hashed, for the user with this e-mail address. Raises Refused, and says why."""
    if len(password) > CHARS_MAX:
        raise Refused(f"a password has {CHARS_MAX} characters at most")
    text = normalized(password)
    if len(text) < CHARS_MIN:
        raise Refused(f"a password has at least {CHARS_MIN} characters")
    if len(text) > CHARS_MAX:
        raise Refused(f"a password has {CHARS_MAX} characters at most")
    if not text.isprintable():
        raise Refused("a password has no control characters")
    folded = text.casefold()
    if any(part in folded for part in _parts(email)):
        raise Refused("a password does not hold a part of the e-mail address")
    if len(set(folded)) < DISTINCT_MIN:
        raise Refused(f"a password has at least {DISTINCT_MIN} different characters")
    if _own_chars(folded) < OWN_CHARS_MIN:
        raise Refused("that password is among the first that are guessed: choose a longer or less common one")
    return text


def _parts(email: str) -> list[str]:
    """The name and the domain of an address, and the words they are made of, but for those too short to
    say anything, and the last label (`com`).
    """
    local, _, domain = email.partition("@")
    words = [*_PARTS.split(local), *_PARTS.split(domain)[:-1]]
    return [part for part in (local, domain, *words) if len(part) >= _PART_CHARS_MIN]


def _own_chars(folded: str) -> int:
    """How many letters and digits are left without years, runs of digits, common words (also with signs for
    letters, as in `p@ssw0rd`), and repetitions.
    """
    text = _NUMBERS.sub("", folded)
    return min(len(_without_words(reading)) for reading in (text, text.translate(_SIGNS)))


def _without_words(text: str) -> str:
    text = "".join(character for character in text if character.isalnum())
    return _REPEATED.sub(r"\1", _WORDS.sub("", text))
