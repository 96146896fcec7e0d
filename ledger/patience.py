"""How long a database may take, for each way of reaching it: one place for all, which tests make shorter.

Units are in the names. Read as `patience.LOCK_MS`, where a connection is made, so that they can be changed.
"""

SQLITE_BUSY_S = 5.0
CONNECT_S = 5.0
LOCK_MS = 5_000
STATEMENT_MS = 30_000
IDLE_TRANSACTION_MS = 300_000
"""An export to a slow reader holds its snapshot this long between two pages."""
COMMAND_MS = 2 * STATEMENT_MS
"""The network's limit, where the server's own cannot reach us."""
POOL_WAIT_S = 10.0
"""For a connection, while others have all of them."""


def server_settings() -> dict[str, str]:
    """What a PostgreSQL is told at each connection."""
    return {
        "application_name": "metergate",
        "timezone": "UTC",
        "lock_timeout": str(LOCK_MS),
        "statement_timeout": str(STATEMENT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_MS),
    }
