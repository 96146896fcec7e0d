"""Money: exact until the one rounding."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refused
from ledger.money import (
    AMOUNT_PICOS_MAX,
    PRICE_MICROS_MAX,
    Rates,
    format_micros,
    format_picos,
    parse_amount,
    parse_price,
    rate,
    round_picos,
)
from ledger.usage import Usage

TOKENS = st.integers(min_value=0, max_value=10**9)
MICROS = st.integers(min_value=0, max_value=PRICE_MICROS_MAX)


@given(TOKENS, TOKENS, TOKENS, MICROS, MICROS, MICROS, MICROS)
def test_an_amount_is_exact(a: int, b: int, c: int, p: int, q: int, r: int, s: int) -> None:
    """Guards against a rounded row: picos are tokens x price / 1e6 tokens, as fractions say."""
    usage = Usage(prompt_tokens=a + b, cached_prompt_tokens=b, completion_tokens=c)
    units = Fraction(a * p + b * q + c * r, 10**12) + Fraction(s, 10**6)
    assert Fraction(rate(usage, Rates(p, q, r, s)), 10**12) == units


def test_a_known_bill() -> None:
    """1,000 prompt tokens, 400 of them cached, 200 written, at 0.15 / 0.075 / 0.60 and 0.01 a request."""
    rates = Rates(parse_price("0.15"), parse_price("0.075"), parse_price("0.60"), parse_price("0.01"))
    assert format_picos(rate(Usage(1000, 400, 200), rates)) == "0.01024"


@given(MICROS)
def test_a_price_reads_as_it_is_written(micros: int) -> None:
    """Guards against a price that changes on its way through a file."""
    assert parse_price(format_micros(micros)) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "free",
        "-1",
        "0.1234567",
        "1e2",
        "1.",
        ".5",
        "٣",
        "nan",
        "inf",
        "0,15",
        "$1",
        "1 2",
        "0." + "9" * 40,
        "1" * 5000,
        "10000000.000001",
    ],
)
def test_what_is_no_price_is_refused(text: str) -> None:
    """Guards against a price that was meant otherwise, or would be rounded."""
    with pytest.raises(Refused) as caught:
        parse_price(text)
    assert len(str(caught.value)) < 200


@given(st.integers(min_value=0, max_value=AMOUNT_PICOS_MAX))
def test_an_amount_reads_as_it_is_written(picos: int) -> None:
    """Guards against a budget that changes on its way through a command line, by a float or otherwise."""
    assert parse_amount(format_picos(picos)) == picos


@given(st.decimals(min_value=0, max_value=9_000_000, places=12))
def test_an_amount_is_what_decimal_makes_of_it(units: Decimal) -> None:
    """Guards against a misplaced point."""
    assert parse_amount(f"{units:f}") == int(units.scaleb(12))


@given(st.decimals(min_value=0, max_value=10**7, places=15, allow_nan=False))
def test_an_amount_is_exact_or_refused(units: Decimal) -> None:
    """Guards against rounding what cannot be held."""
    try:
        picos = parse_amount(f"{units:f}")
    except Refused:
        assert units > 9_000_000 or units.scaleb(12) % 1 != 0
    else:
        assert Fraction(picos, 10**12) == Fraction(units)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not an amount: write a decimal number such as 1.00"),
        ("1e3", "is not an amount"),
        ("10k", "is not an amount"),
        ("$1", "is not an amount"),
        ("1,00", "is not an amount"),
        ("٣", "is not an amount"),
        ("nan", "is not an amount"),
        ("-1.00", "'-1.00' is negative: an amount is at least 0"),
        ("0.0000000000001", "more than twelve decimals"),
        ("9000000.000000000001", "above the highest amount, 9,000,000"),
        ("1" * 5000, "above the highest amount"),
        ("0." + "1" * 5000, "more than twelve decimals"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, said: str) -> None:
    """Guards against a budget that was meant otherwise."""
    with pytest.raises(Refused, match=said.replace("$", r"\$")) as caught:
        parse_amount(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("picos", "currency", "smallest"),
    [
        (5_000_000_000, "USD", 1),
        (4_999_999_999, "USD", 0),
        (-5_000_000_000, "USD", -1),
        (500_000_000_000, "JPY", 1),
        (499_999_999_999, "JPY", 0),
        (500_000_000, "KWD", 1),
        (0, "EUR", 0),
    ],
)
def test_half_goes_away_from_zero_at_the_currencys_exponent(picos: int, currency: str, smallest: int) -> None:
    """Guards against banker's rounding, and against cents of a currency that has none."""
    assert round_picos(picos, currency) == smallest


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_rounding_agrees_with_decimal(picos: int) -> None:
    """Guards against an off by one in the integer form of the rule."""
    expected = (Decimal(picos).scaleb(-10)).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    assert round_picos(picos, "USD") == int(expected)
