"""Which control plane a command asks: the one at a URL, or this process on the database.

The command line comes first: --url, or --data-dir and --database-url; then METERGATE_ADMIN_URL; where nothing
is said, the ledger of the settings. The admin key comes from the environment, metergate.toml or a file, never
from an argument, which every process of the machine can read.
"""

from pathlib import Path

import typer

from admin.cli.api import Api
from admin.cli.command import Fault, Request
from admin.cli.command_settings import CommandSettings
from admin.cli.quickly import quickly
from ledger.setting import Secret
from ledger.settings import load

KEY_NAME = "METERGATE_ADMIN_KEY"


def reach(request: Request) -> Api:
    """The API that a command calls. Status 2 for options that do not go together; raises Fault,
    SettingsRefused.
    """
    names_database = request.data_dir is not None or request.database_url is not None
    if request.url is not None and names_database:
        raise typer.BadParameter("give --url, or --data-dir and --database-url, not both")
    settings = load(CommandSettings)
    url = request.url or ("" if names_database else settings.admin_url)
    if not url:
        if request.admin_key_file is not None:
            raise typer.BadParameter("--admin-key-file goes with --url")
        return _on_database(request)
    return _at(url, settings, request.admin_key_file)


def _at(url: str, settings: CommandSettings, key_file: Path | None) -> Api:
    from admin.cli.remote import Remote, checked_key, checked_url

    url = checked_url(url)
    if key_file is None:
        key, whence = settings.admin_key, KEY_NAME
    else:
        key, whence = _read(key_file), str(key_file)
    return Api(Remote(url, checked_key(key, whence)))


def _on_database(request: Request) -> Api:
    with quickly():
        from admin.cli.in_process import InProcess
        from admin.config import AdminSettings

    settings = load(AdminSettings, data_dir=request.data_dir, database_url=request.database_url)
    return Api(InProcess(settings))


def _read(file: Path) -> Secret:
    try:
        return Secret(file.read_text(encoding="ascii").strip())
    except OSError as fault:
        raise Fault(f"cannot read {file}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise Fault(f"what is in {file} is no admin key") from None
