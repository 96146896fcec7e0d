"""What a verification looks at and what it finds: checks by name, faults with their ids, and what to do.

Pure. A fault is something that must never be; a notice is something to know that is no fault; what could not
be looked at is said too, so that "no faults" never stands for "not looked".
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

SHOWN_MAX: Final = 5
"""Faults of one check that are told with their ids; the rest are counted."""


class Check(StrEnum):
    """What is checked, in the order of the report."""

    REQUEST_IDS = "request_ids"
    ROWS = "rows"
    PRICES = "prices"
    AMOUNTS = "amounts"
    ROLLUPS = "rollups"
    DAYS = "days"
    BALANCES = "balances"
    LEASES = "leases"
    KEYS = "keys"
    AUDIT = "audit"


class Notice(StrEnum):
    """What is no fault, and worth knowing."""

    LIMIT_PASSED = "limit_passed"
    HOLDER_SILENT = "holder_silent"
    MONTH_DETACHED = "month_detached"


MEANING: Final = {
    Check.REQUEST_IDS: "every request id is in the book once",
    Check.ROWS: "every row is possible: times, counts, nothing charged for what is unresolved",
    Check.PRICES: "every row has the price version that was in force when its call started",
    Check.AMOUNTS: "every row's amount is its tokens times its price version",
    Check.ROLLUPS: "every hourly sum, by key and by project, is the sum of its rows; no row is without",
    Check.DAYS: "every daily sum, by key and by project, is the sum of its rows",
    Check.BALANCES: "what is used of every limit is the sum of the rows in its window",
    Check.LEASES: "what is leased of every limit is what its holders have, and holders exist",
    Check.KEYS: "every key has its secret, and during a rotation the one of before",
    Check.AUDIT: "every event of the audit log is as it was written, and none is gone",
}

ADVICE: Final = {
    Check.REQUEST_IDS: "calls are billed twice; the primary key of usage is missing or its index damaged:"
    " restore it (REINDEX), and remove one of each pair",
    Check.ROWS: "something other than metergate wrote these rows, or a clock jumped:"
    " compare them with a backup before anybody is billed",
    Check.PRICES: "somebody changed price versions or rows by hand: see `metergate price list`,"
    " and compare with a backup",
    Check.AMOUNTS: "somebody changed amounts, tokens or prices by hand: compare these rows with a backup;"
    " the amount that tokens and price give is the right one",
    Check.ROLLUPS: "reports of these hours are wrong, rows are right: docs/operations.md says how to make"
    " hourly sums anew",
    Check.DAYS: "usage and costs of these days are wrong, rows are right: docs/operations.md says how to make"
    " daily sums anew",
    Check.BALANCES: "these limits let through too much or too little; docs/operations.md says how to correct"
    " a balance",
    Check.LEASES: "units of these limits are withheld or given twice; stop every metergate of this ledger,"
    " start them again, and if it stays see docs/operations.md",
    Check.KEYS: "these keys may not work, or work with a secret too many: revoke those that are not needed,"
    " rotate the others with a grace of 0",
    Check.AUDIT: "somebody changed the audit log by hand: keep this database as it is, compare with a backup,"
    " and find out who can write to it",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the id of what, and how."""

    id: str
    what: str


@dataclass(slots=True)
class Result:
    """What a check looked at, how many faults it found, and the first few of them."""

    looked_at: int = 0
    faults: int = 0
    shown: list[Fault] = field(default_factory=list)

    @property
    def room(self) -> int:
        """How many more faults will be shown."""
        return SHOWN_MAX - len(self.shown)

    def add(self, fault_id: str, what: str) -> None:
        """One fault more."""
        self.faults += 1
        self.show(fault_id, what)

    def show(self, fault_id: str, what: str) -> None:
        """Tell of a fault that is counted already."""
        if self.room > 0:
            self.shown.append(Fault(fault_id, what))


class Findings:
    """Everything that a verification found."""

    def __init__(self) -> None:
        """Nothing looked at yet."""
        self.results: dict[Check, Result] = {check: Result() for check in Check}
        self.notices: dict[Notice, Result] = {notice: Result() for notice in Notice}

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(result.faults for result in self.results.values())

    def __getitem__(self, check: Check) -> Result:
        """The result of a check."""
        return self.results[check]

    def note(self, notice: Notice, about: str, what: str) -> None:
        """Something to know that is no fault."""
        self.notices[notice].add(about, what)
