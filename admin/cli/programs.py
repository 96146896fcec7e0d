"""Which processes make a metergate of given roles, and in which order they stop.

Programs are named by module; none is imported here.
"""

from collections.abc import Mapping, Sequence

from admin.child import Program

SIMULATOR = "the simulator"
STOP_SECONDS = 10.0
"""What a process gets, beyond the drain, to write down its last records."""


def programs(
    roles: Sequence[str],
    fds: Mapping[str, int],
    environment: Mapping[str, str],
    *,
    workers: int,
    first_worker: int,
    drain_seconds: float,
    simulated_models: Sequence[str],
) -> list[Program]:
    """The processes; those that feed others stop after them. `fds`: listening sockets by their purpose.

    Workers answer before those of a renewal before them end, so `first_worker` has to be another then: a
    worker's number names its journal.
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

    if "simulator" in fds:
        models = [word for model in simulated_models for word in ("--model", model)]
        add(SIMULATOR, "proxy.simulator", *models, of="simulator", stage=2)
    if "proxy" in roles:
        for number in range(workers):
            add(
                f"data plane worker {number}",
                "proxy.worker",
                "--worker",
                str(first_worker + number),
                of="proxy",
                stage=0,
                grace=drain_seconds + STOP_SECONDS,
                overlaps=True,
            )
        add("the poster", "ledger.poster", stage=1)
        add("the metrics page", "admin.metrics_page", of="metrics", stage=1)
    if "admin" in roles:
        alone = () if "worker" in roles else ("--no-worker",)
        add("the control plane", "admin.plane", *alone, of="admin", stage=0)
    elif "worker" in roles:
        add("the background worker", "admin.worker", stage=0)
    return found
