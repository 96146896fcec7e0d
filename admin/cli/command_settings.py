"""The command line's own settings: which control plane it asks, and with which key.

No server acts by them. They are settings all the same, so that a server's strict look at names knows them.
"""

from ledger.setting import Secret, setting
from ledger.settings import Settings


class CommandSettings(Settings):
    """Settings of the command line; each is METERGATE_<NAME> in the environment or metergate.toml."""

    admin_url: str = setting(
        default="",
        description=(
            "Base URL of the control plane that commands ask, such as `https://admin.example.com` (`--url`);"
            " without one, and with `--data-dir` or `--database-url`, they work on the ledger's database."
        ),
    )
    admin_key: Secret | None = setting(
        default=None,
        description="The admin key, `sk-admin-...`, that commands ask it with (`--admin-key-file`).",
    )
