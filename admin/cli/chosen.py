"""What the command line says of a server, before the environment and metergate.toml are asked. Pure."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Chosen:
    """None where the command line says nothing and the settings decide. Names are those of the settings."""

    data_dir: Path | None = None
    database_url: str | None = None
    engines: list[str] | None = None
    host: str | None = None
    port: int | None = None
    workers: int | None = None
    admin_host: str | None = None
    admin_port: int | None = None
    metrics_port: int | None = None

    def environment(self) -> dict[str, str]:
        """The same as METERGATE_* names, which is how the processes we start are told."""
        said = {
            "DATA_DIR": self.data_dir,
            "DATABASE_URL": self.database_url,
            "ENGINES": ",".join(self.engines) if self.engines else None,
            "HOST": self.host,
            "PORT": self.port,
            "WORKERS": self.workers,
            "ADMIN_HOST": self.admin_host,
            "ADMIN_PORT": self.admin_port,
            "METRICS_PORT": self.metrics_port,
        }
        return {f"METERGATE_{name}": str(value) for name, value in said.items() if value is not None}
