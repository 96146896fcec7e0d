"""Amounts of money on the command line: units of the currency, where the API has whole smallest units."""

from typing import Annotated

import typer

from admin.cli.command import Request
from ledger.errors import Refused
from ledger.money import format_picos, minor_unit_picos, parse_amount

CurrencyOption = Annotated[
    str | None,
    typer.Option("--currency", help="The ledger's, ISO 4217 (METERGATE_CURRENCY).", show_default=False),
]


def currency_of(request: Request, chosen: str | None) -> str:
    """The currency that is meant: the ledger's own, which the API holds it to. Raises SettingsRefused."""
    return chosen or request.settings().currency


def smallest_units(text: str, currency: str) -> int:
    """Cents of "12.50", yen of "1250". Raises Refused for what is no amount, and for parts of a cent."""
    picos, unit = parse_amount(text), minor_unit_picos(currency)
    if picos % unit:
        raise Refused(f"{text!r} is finer than {format_picos(unit)} {currency}, the smallest that is counted")
    return picos // unit


def in_units(amount: int, currency: str) -> str:
    """As people read it: 1250 of USD is "12.50 USD"."""
    return f"{format_picos(amount * minor_unit_picos(currency))} {currency}"
