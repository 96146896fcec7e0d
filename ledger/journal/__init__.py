"""The journal: settled records that wait to be posted, in append-only, CRC-framed segments.

    DATA_DIR/journal/worker-K/000000000001.journal   segments, each owner's own
    DATA_DIR/journal/worker-K/lock                   flock of the live owner
    DATA_DIR/journal/worker-K/flight                 the live owner's calls in flight
    DATA_DIR/journal/worker-K/posted                 cursor: all before it is in the ledger (the poster's)
    DATA_DIR/journal/worker-K/holder                 whose leases its records are charged to (holder_file.py)
    DATA_DIR/journal/quarantine/                     bytes that are no frames or slots, kept for people
    DATA_DIR/journal/poster.lock                     flock of the live poster

It lives in ledger/, not in proxy/: see docs/decisions/0001-journal-in-the-ledger.md.
"""
