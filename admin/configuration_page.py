"""docs/configuration.md, made of the settings: `python -m admin.configuration_page > docs/configuration.md`.

`page` is pure. A test holds the file to it, so that no setting stays undocumented.
"""

import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from admin.cli.settings import SETTINGS
from ledger.client_settings import ClientSettings
from ledger.engine_settings import EngineSettings
from ledger.settings import LedgerSettings, Settings

HEAD = """\
# Configuration

Made by `python -m admin.configuration_page`; change the descriptions beside the settings, not here.

A setting is an environment variable, or the same name in `metergate.toml` in the working directory (or in
the file that `METERGATE_CONFIG` names), with or without the prefix, in any case: `METERGATE_PORT=8080` and
`port = 8080` are the same. Command-line options come first, then the environment, then the file, then the
defaults. An unknown name or a bad value refuses to start, and says which. `metergate doctor` looks at all.

Every command reads the same settings as the servers, so `metergate key create` finds the ledger that
`metergate up` uses when it runs in the same directory, or with the same `METERGATE_DATA_DIR` and
`METERGATE_DATABASE_URL`.
"""


def page(sections: Iterable[tuple[str, type[Settings]]]) -> str:
    """The whole page: a table for each class, without what it inherits."""
    return HEAD + "".join(f"\n## {title}\n\n{_table(settings)}" for title, settings in sections)


def _table(settings: type[Settings]) -> str:
    inherited = {name for base in settings.__mro__[1:] for name in getattr(base, "__annotations__", {})}
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    for name, field in settings.declared().items():
        if name not in inherited:
            what = field.rules.description.rstrip(".")
            what = f"{what}.{_choices(field.kind)}".replace("|", "\\|")
            rows.append(f"| `METERGATE_{name.upper()}` | {_default(field.default)} | {what} |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, int) and value >= 1 << 15 and value % 1024 == 0:
        return (
            f"`{value}` ({value >> 20} MiB)" if value % (1 << 20) == 0 else f"`{value}` ({value >> 10} KiB)"
        )
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _choices(kind: type) -> str:
    if issubclass(kind, Enum):
        return f" One of {', '.join(f'`{choice.value}`' for choice in kind)}."
    return ""


def sections() -> Sequence[tuple[str, type[Settings]]]:
    """The classes there are, as the composition root knows them."""
    titles = {
        "ProxySettings": "The data plane",
        "AdminSettings": "The control plane",
        "CommandSettings": "The command line",
    }
    shared = [
        ("The ledger", LedgerSettings),
        ("The engines", EngineSettings),
        ("Proxies before metergate", ClientSettings),
    ]
    return [*shared, *((titles[kind.__name__], kind) for kind in SETTINGS)]


if __name__ == "__main__":
    sys.stdout.write(page(sections()))
