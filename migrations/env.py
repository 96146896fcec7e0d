"""Alembic's way in: it runs on the connection and in the transaction that ledger/schema.py hands over.

A migration must suit the code that is still running while it is applied, and takes the lock and statement
timeouts of its connection.
"""

from alembic import context

from ledger.partitions import is_partition
from ledger.tables import Table

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run in process: `metergate db upgrade`")

context.configure(
    connection=connection,
    target_metadata=Table.metadata,
    transactional_ddl=True,  # SQLite's too: the driver begins nothing by itself (ledger/database.py)
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    include_name=lambda name, kind, _: kind != "table" or not is_partition(name or ""),
)
with context.begin_transaction():
    context.run_migrations()
