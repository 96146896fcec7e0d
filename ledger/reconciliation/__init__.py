"""Reconciliation: the ledger's tokens against the counters of the engines that made them.

    arithmetic   what an engine may have counted, given what the ledger has      pure
    lives        samples -> an engine's lives, and the moments to compare at     pure
    comparison   what comes of it                                                pure
    sums         the ledger's side: calls added up, and calls across a moment
    samples      what engines said, kept for a while
    checks       the comparison on demand
    points       the comparison from hour to hour, kept for good

A difference is shown and never corrected: the engine's own `usage` is what is billed, and its counters are a
second witness. Nothing here speaks to an engine: who has samples brings them (admin/sampling.py).
"""
