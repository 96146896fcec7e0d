"""`metergate ledger verify`: does the book agree with itself?

    findings.py   what is checked and what was found        pure
    hours.py      the rows and sums of one hour, as the database adds them up
    rows.py       what is wrong with single rows: ids, times, amounts, price versions
    balances.py   what is used of limits, by the rows
    leases.py     what is leased of limits, and by whom
    audit.py      the chain of the audit log
    verify.py     all of it, on one snapshot

It reads and never writes. Entries and statements are not in the book yet, so nothing here is about them: they
get a Check and a module of their own.
"""
