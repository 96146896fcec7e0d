"""E-mail addresses: which are taken, and the one form in which they are kept and compared. Pure.

The rule is the one by which browsers check `<input type=email>` (WHATWG HTML, "valid e-mail address"): a
wilful simplification of RFC 5322, ASCII alone. So lower case is the same for everybody: no two letters of
other scripts fold into one, and no address can be taken twice in two spellings. Whether an address takes
mail is only known to whoever gets it.
"""

import re
from typing import Final

from ledger.errors import Refused

CHARS_MAX: Final = 254  # RFC 5321, 4.5.3.1.3: a path of 256 with its angle brackets
LOCAL_CHARS_MAX: Final = 64  # RFC 5321, 4.5.3.1.1

_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_VALID: Final = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")


def parse_email(text: str) -> str:
    """The address in lower case, without blanks around it. Raises Refused."""
    email = text.strip(" \t\r\n").lower()
    if len(email) > CHARS_MAX or not _VALID.fullmatch(email) or email.index("@") > LOCAL_CHARS_MAX:
        raise Refused("that is no e-mail address such as ann@example.com")
    return email
