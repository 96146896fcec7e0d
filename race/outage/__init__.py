"""An hour without the ledger's database, shown: `make outage`, or `python -m race.outage --calls 20000`.

One worker's real parts (keys, limits, settlement, flight recorder, journal; no HTTP) settle 720,000 calls,
200 for each second of their clock, while a real PostgreSQL is stopped. The clock is turned by the calls, so
that the hour passes as fast as the machine settles them. Then PostgreSQL is started, the real poster catches
up, and the worker goes on at 200 calls of real seconds.
"""
