"""The settings of both planes, as a command line, the environment and metergate.toml say."""

import os

from admin.cli.chosen import Chosen
from admin.cli.command_settings import CommandSettings
from admin.config import AdminSettings
from ledger.settings import check_names, load
from proxy.config import ProxySettings

SETTINGS = (ProxySettings, AdminSettings, CommandSettings)
"""Every class of settings there is: a METERGATE_* name that is in none of them is a mistake."""


def resolve(chosen: Chosen) -> tuple[ProxySettings, AdminSettings]:
    """The settings of both planes. Raises SettingsRefused, one line for each unknown name and bad value."""
    check_names(SETTINGS, environ={**os.environ, **chosen.environment()})
    return (
        load(
            ProxySettings,
            data_dir=chosen.data_dir,
            database_url=chosen.database_url,
            engines=tuple(chosen.engines) if chosen.engines else None,
            host=chosen.host,
            port=chosen.port,
            workers=chosen.workers,
            metrics_port=chosen.metrics_port,
        ),
        load(
            AdminSettings,
            data_dir=chosen.data_dir,
            database_url=chosen.database_url,
            admin_host=chosen.admin_host,
            admin_port=chosen.admin_port,
        ),
    )
