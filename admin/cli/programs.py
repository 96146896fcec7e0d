"""Which processes make a metergate of given roles, and in which order they stop.

Programs are named by module; none is imported here.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from admin.addresses import ADDRESSES
from admin.child import Program
from admin.sockets import url_of
from ledger.journal.segments import is_locked, worker_folder

SIMULATOR = "the simulator"
STOP_SECONDS = 10.0
"""What a process gets, beyond the drain, to write down its last records."""


def programs(
    roles: Sequence[str],
    fds: Mapping[str, int],
    environment: Mapping[str, str],
    *,
    data_dir: Path,
    workers: Sequence[int],
    drain_seconds: float,
    simulated_models: Sequence[str],
) -> list[Program]:
    """The processes, first those whose start takes longest; those that feed others stop after them. `fds`:
    listening sockets by their purpose.

    `workers`: the number of each, which names its journal. At a renewal it answers before the one before it
    ends, so it has to be another then.
    """
    found: list[Program] = []

    def add(
        name: str,
        module: str,
        *arguments: str,
        of: str | None = None,
        stage: int,
        grace: float = STOP_SECONDS,
        overlaps: bool = False,
    ) -> None:
        inherited = (fds[of],) if of else ()
        told = [word for fd in inherited for word in ("--fd", str(fd))]
        words = (*told, *arguments)
        found.append(Program(name, module, words, inherited, environment, stage, grace, overlaps))

    if "admin" in roles:
        alone = () if "worker" in roles else ("--no-worker",)
        add("the control plane", "admin.plane", *alone, of="admin", stage=0)
    elif "worker" in roles:
        add("the background worker", "admin.worker", stage=0)
    if "proxy" in roles:
        for place, number in enumerate(workers):
            add(
                f"data plane worker {place}",
                "proxy.worker",
                "--worker",
                str(number),
                of="proxy",
                stage=0,
                grace=drain_seconds + STOP_SECONDS,
                overlaps=True,
            )
    if "simulator" in fds:
        models = [word for model in simulated_models for word in ("--model", model)]
        add(SIMULATOR, "proxy.simulator", *models, of="simulator", stage=2)
    if "proxy" in roles:
        add("the poster", "ledger.poster", stage=1)
        add("the metrics page", "admin.metrics_page", "--data-dir", str(data_dir), of="metrics", stage=1)
    return found


def places(role: str, sockets: Mapping[str, socket.socket]) -> dict[str, str]:
    """Where what a role has is reached: the URL of each socket, by who answers there."""
    return {each.purpose: url_of(sockets[each.name]) for each in ADDRESSES if each.role == role}


def free_workers(data_dir: Path, count: int) -> list[int]:
    """A number for each worker: it has two, and the one that runs holds the journal of one of them."""

    def is_taken(number: int) -> bool:
        return is_locked(worker_folder(data_dir, number) / "lock")

    return [number + count if is_taken(number) else number for number in range(count)]


def import_path() -> dict[str, str]:
    """What lets a process find the packages beside this one, where metergate runs without being installed."""
    root = Path(__file__).parents[2]
    if "site-packages" in root.parts:
        return {}
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else str(root)}
