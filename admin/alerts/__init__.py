"""Alerts on spend: looked for by the background worker, and brought to people by mail and webhook."""
