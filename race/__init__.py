"""The race behind `make race`: real workers, a real poster and a real database, and far more clients than the
limits let in. What was spent, admitted and in flight is counted twice: by the ledger and by the engine.

    python -m race                                        every scenario, 20 seeds, both databases in turn
    python -m race --scenario budget --seeds 2            one scenario, two seeds
    python -m race --scenario budget --seeds 1 --no-limits   the same with no limit set: must come out red

The exit status is 1 where anything was passed that should hold. A seed decides who asks for what; it does not
decide the timing, which is the point.
"""
