"""The chaos behind `make chaos`: what production runs, under load, while everything that can break breaks. At
the end every token is counted three times: by the engines, by the clients, and in the ledger.

    python -m chaos                                  one seed on each database (some twenty minutes)
    python -m chaos --seeds 5 --database postgresql  five seeds on PostgreSQL
    python -m chaos --seconds 30                     a short one
    python -m chaos --seconds 30 --no-recovery       without flight recorders: must come out red

The exit status is 1 where a promise did not hold. A seed decides what is asked for and what breaks when; it
does not decide the timing, which is the point."""
