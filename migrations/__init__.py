"""Alembic's migrations of the ledger's schema: numbered files in versions/, applied by ledger/schema.py."""
