"""The command line, `metergate`. `main` is its entry.

Rules for everything under admin/cli: what a command is asked for goes to stdout, everything else to stderr;
with --json stdout is exactly one JSON document; a fault is one line on stderr and exit status 1 (2 where
the command itself is miswritten). Heavy imports (the ledger, httpx) live inside the functions that need
them, so that --help is quick.
"""

from admin.cli.entry import main

__all__ = ["main"]
