"""The data plane's settings: where it listens, what it lets through, how long it waits.

Rules: a setting has a unit in its name, a default that is safe on loopback, and a description, from which
docs/configuration.md is made. Values are checked here, once; the rest of the data plane trusts them.
It must not know the control plane.
"""

from enum import StrEnum

from ledger.client_settings import ClientSettings
from ledger.engine_settings import base_url
from ledger.setting import setting


class UnpricedModels(StrEnum):
    """What happens to a call whose model has no price: served free and marked so, or refused."""

    ALLOW = "allow"
    REFUSE = "refuse"


class ProxySettings(ClientSettings):
    """Settings of the data plane; each is METERGATE_<NAME> in the environment or metergate.toml."""

    host: str = setting(default="127.0.0.1", description="Address the data plane listens on.")
    port: int = setting(
        default=8080, ge=0, le=65535, description="Port of the data plane; 0 takes any free one."
    )
    workers: int = setting(default=1, ge=1, le=256, description="Worker processes of the data plane.")

    forward_admin_url: str = setting(
        default="",
        check=lambda url: base_url(url) if url else url,
        description=(
            "Base URL of the control plane, such as `http://127.0.0.1:8081`: the data plane's port then "
            "answers `/v1/organization/...`, too, by passing it on. Not unless set."
        ),
    )

    max_body_bytes: int = setting(default=16 << 20, ge=1, description="Largest request body.")
    max_header_bytes: int = setting(
        default=32 << 10,
        ge=1024,
        le=64 << 10,
        description="Largest request head: request line and headers together.",
    )
    max_choices: int = setting(default=16, ge=1, description="Largest `n` of a request.")
    max_prompts: int = setting(default=2048, ge=1, description="Most prompts or inputs in one request.")
    extra_fields: tuple[str, ...] = setting(
        default=(),
        description=(
            "Names of further top-level body fields to pass to the engine, separated by commas. "
            "A field that breaks metering or isolation stays refused."
        ),
    )
    isolate_prefix_cache: bool = setting(
        default=True,
        description=(
            "Set a `cache_salt` per tenant: no tenant can time another's prompts in the engine's cache."
        ),
    )
    unpriced_models: UnpricedModels = setting(
        default=UnpricedModels.ALLOW,
        description="A model without a price is served free (`allow`) or refused (`refuse`; for production).",
    )

    cached_keys_seconds: float = setting(
        default=14_400.0,
        ge=0,
        description=(
            "How long keys that a worker knows go on while the ledger's database is away; "
            "then they are answered 503 until it is back. 0: not at all."
        ),
    )

    connect_timeout_seconds: float = setting(
        default=5.0, gt=0, description="Longest wait for a connection to an engine."
    )
    first_byte_timeout_seconds: float = setting(
        default=600.0, gt=0, description="Longest wait for an engine's first byte: queue and prompt included."
    )
    gap_timeout_seconds: float = setting(
        default=120.0, gt=0, description="Longest silence inside a stream before the engine counts as hung."
    )
    drain_seconds: float = setting(
        default=30.0,
        ge=0,
        description="How long a stopping process lets running calls finish before it ends them.",
    )

    journal_bytes_max: int = setting(
        default=8 << 30,
        ge=1 << 20,
        description=(
            "How much may wait in the journal of each worker while the ledger's database is away; past it, "
            "new calls are answered 503. A million calls are about 350 MB."
        ),
    )
    disk_free_bytes_min: int = setting(
        default=128 << 20,
        ge=64 << 20,
        description=(
            "With less free on the disk of the data folder, new calls are answered 503, so that the records "
            "of those that run find room: up to 2 KiB each."
        ),
    )

    metrics_host: str = setting(default="127.0.0.1", description="Address of the metrics page, `/metrics`.")
    metrics_port: int = setting(
        default=9464, ge=0, le=65535, description="Port of the metrics page; 0 takes any free one."
    )
