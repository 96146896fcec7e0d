"""Price arithmetic, exact.

Pure. A price is integer micro-units of currency per million tokens, which is 1e-12 units per token: tokens x
price is an amount in picos (1e-12 units), an integer that is never rounded. Rounding happens once per
statement line, in `round_picos`, and nowhere else.
"""

import re
from dataclasses import dataclass

from ledger.errors import Refused
from ledger.usage import Usage

PICOS_PER_MICRO = 10**6
PICOS_PER_UNIT = 10**12
MICROS_PER_UNIT = 10**6
SHOWN_CHARS_MAX = 40

# Ten million units of currency per million tokens. The dearest model today costs a few hundred dollars; this
# leaves room for currencies of small units, and keeps a row's amount within 64 bits up to 900,000 tokens at
# the very top.
PRICE_MICROS_MAX = 10**13

# Nine million units of currency: as 64 bits hold them.
AMOUNT_PICOS_MAX = 9 * 10**18

# ISO 4217: the currencies whose smallest unit is not a hundredth.
_EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


@dataclass(frozen=True, slots=True)
class Rates:
    """What a call costs: micro-units per million tokens of each kind, and micro-units per request."""

    input_micros_per_mtok: int
    cached_input_micros_per_mtok: int
    output_micros_per_mtok: int
    request_micros: int = 0


def rate(usage: Usage, rates: Rates) -> int:
    """The exact amount in picos: cached tokens at their own price, the other prompt tokens at the input
    price.
    """
    return rate_counts(usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens, rates)


def rate_counts(prompt_tokens: int, cached_prompt_tokens: int, completion_tokens: int, rates: Rates) -> int:
    """As `rate`, of counts that are one value nowhere: each posted call comes by here."""
    return (
        (prompt_tokens - cached_prompt_tokens) * rates.input_micros_per_mtok
        + cached_prompt_tokens * rates.cached_input_micros_per_mtok
        + completion_tokens * rates.output_micros_per_mtok
        + rates.request_micros * PICOS_PER_MICRO
    )


def parse_price(text: str) -> int:
    """Micro-units of a decimal price: "0.15" is 150000.

    Exact: raises Refused for what is no plain decimal number, is negative, has more than six decimals, or is
    beyond PRICE_MICROS_MAX.
    """
    whole, decimals, shown = _decimal(text, "a price", "0.15")
    if len(decimals) > 6:
        raise Refused(f"{shown} has more than six decimals: prices are kept in millionths")
    micros = _scaled(whole, decimals, 6, PRICE_MICROS_MAX)
    if micros is None:
        raise Refused(f"{shown} is above the highest price, {PRICE_MICROS_MAX // MICROS_PER_UNIT:,}")
    return micros


def parse_amount(text: str) -> int:
    """Picos of a decimal amount in units of currency: "1.00" is 1000000000000.

    Exact: raises Refused for what is no plain decimal number, is negative, has more than twelve decimals, or
    is beyond AMOUNT_PICOS_MAX.
    """
    whole, decimals, shown = _decimal(text, "an amount", "1.00")
    if len(decimals) > 12:
        raise Refused(f"{shown} has more than twelve decimals: amounts are kept in 1e-12 of a unit")
    picos = _scaled(whole, decimals, 12, AMOUNT_PICOS_MAX)
    if picos is None:
        raise Refused(f"{shown} is above the highest amount, {AMOUNT_PICOS_MAX // PICOS_PER_UNIT:,}")
    return picos


def format_micros(micros: int) -> str:
    """A price as it is written: 150000 is "0.15"."""
    return _format_scaled(micros, 6)


def format_picos(picos: int) -> str:
    """An amount in units of currency, exact, at least two decimals: 1234500000000 is "1.2345"."""
    return _format_scaled(picos, 12)


def exponent(currency: str) -> int:
    """How many decimals the smallest unit of a currency has (ISO 4217)."""
    return _EXPONENTS.get(currency.upper(), 2)


def minor_unit_picos(currency: str) -> int:
    """What the currency's smallest unit (a cent, a yen) is in picos."""
    return int(10 ** (12 - exponent(currency)))


def round_picos(picos: int, currency: str) -> int:
    """The one rounding: picos to the currency's smallest units (cents), half away from zero."""
    divisor = minor_unit_picos(currency)
    whole, rest = divmod(abs(picos), divisor)
    if 2 * rest >= divisor:
        whole += 1
    return whole if picos >= 0 else -whole


def _decimal(text: str, what: str, example: str) -> tuple[str, str, str]:
    """The digits before and after the point, without zeros that say nothing, and the text as errors show
    it.
    """
    text = text.strip()
    shown = repr(text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "...")
    if not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        if re.fullmatch(r"-\d+(\.\d+)?", text, re.ASCII):
            raise Refused(f"{shown} is negative: {what} is at least 0")
        raise Refused(f"{shown} is not {what}: write a decimal number such as {example}")
    whole, _, decimals = text.partition(".")
    return whole.lstrip("0"), decimals.rstrip("0"), shown


def _scaled(whole: str, decimals: str, places: int, most: int) -> int | None:
    """The number times 10**places; None above `most`. Digits are counted first: Python refuses to read
    integers of thousands of them.
    """
    if len(whole) + places > len(str(most)):
        return None
    scaled = int(whole + decimals.ljust(places, "0"))
    return scaled if scaled <= most else None


def _format_scaled(value: int, places: int) -> str:
    digits = str(value).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:].rstrip('0').ljust(2, '0')}"
