"""Which engines there are, and how to speak to them: settings of both planes.

The data plane relays to them; the control plane's background worker and `metergate reconcile` ask for their
counters. Values are checked here, once; who uses them trusts them.
"""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from ledger.setting import Secret, setting
from ledger.settings import LedgerSettings


def base_url(url: str) -> str:
    """An engine's URL in its one form, by which the ledger knows it. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not an http:// or https:// URL")
    if parts.username or parts.password:
        raise ValueError("an engine's URL holds no user or password: set METERGATE_ENGINE_API_KEY instead")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} is a base URL and takes no ? or #")
    if parts.port == 0:
        raise ValueError(f"{url!r} has no usable port")
    return url.rstrip("/").removesuffix("/v1")


def _base_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(base_url(url) for url in urls)


def _holding_certificates(path: Path) -> Path:
    """Read here once, so that a wrong file is told at the start and not by every probe."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"cannot read certificates from {path}") from error
    return path


class EngineSettings(LedgerSettings):
    """Settings of the engines; each is METERGATE_<NAME> in the environment or metergate.toml."""

    engines: tuple[str, ...] = setting(
        default=(),
        check=_base_urls,
        description="Base URLs of the engines, separated by commas, such as `http://127.0.0.1:8000`.",
    )
    engine_api_key: Secret | None = setting(
        default=None, description="The key that the engines ask for (vLLM's `--api-key`); never a tenant's."
    )
    engine_ca_file: Path | None = setting(
        default=None,
        check=_holding_certificates,
        description="PEM file of certificates that https engines are checked against; default: the system's.",
    )
