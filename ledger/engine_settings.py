"""Which engines there are, and how to speak to them: settings of both planes.

The data plane relays to them; the control plane's background worker and `metergate reconcile` ask for their
counters. Values are checked here, once; who uses them trusts them.
"""

import ssl
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from ledger.settings import LedgerSettings


class EngineSettings(LedgerSettings):
    """Settings of the engines; each is METERGATE_<NAME> in the environment or metergate.toml."""

    engines: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Base URLs of the engines, separated by commas, such as `http://127.0.0.1:8000`."
    )
    engine_api_key: SecretStr | None = Field(
        None, description="The key that the engines ask for (vLLM's `--api-key`); never a tenant's."
    )
    engine_ca_file: Path | None = Field(
        None,
        description="PEM file of certificates that https engines are checked against; default: the system's.",
    )

    @field_validator("engines", mode="before")
    @classmethod
    def _split_engines(cls, value: object) -> object:
        """'a, b' -> ('a', 'b'); a list (from metergate.toml or Python) stays one."""
        return split_at_commas(value)

    @field_validator("engines")
    @classmethod
    def _are_base_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        """Base URLs without a trailing slash or `/v1`: http(s), a host, nothing secret or variable."""
        return tuple(base_url(url) for url in urls)

    @field_validator("engine_ca_file")
    @classmethod
    def _holds_certificates(cls, path: Path | None) -> Path | None:
        """Read here once, so that a wrong file is told at the start and not by every probe."""
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:  # ssl.SSLError is one
                raise ValueError(f"cannot read certificates from {path}") from error
        return path


def split_at_commas(value: object) -> object:
    """The parts of a text; anything else stays as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


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
