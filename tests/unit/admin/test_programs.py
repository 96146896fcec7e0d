"""Which processes there are, and which numbers their journals have."""

from pathlib import Path

from admin.cli.programs import free_workers, programs
from ledger.journal.segments import FileLock, worker_folder


def test_a_worker_takes_the_number_that_its_predecessor_does_not_hold(tmp_path: Path) -> None:
    """Guards against a reload that cannot start, after one that failed half-way: numbers that only alternate
    would then be those of the workers that still run.
    """
    assert free_workers(tmp_path, 3) == [0, 1, 2]
    locks = [FileLock(worker_folder(tmp_path, number) / "lock") for number in (0, 4, 2)]
    assert all(lock.take() for lock in locks)
    assert free_workers(tmp_path, 3) == [3, 1, 5]
    for lock in locks:
        lock.release()
    assert free_workers(tmp_path, 3) == [0, 1, 2]


def test_only_workers_overlap_with_their_successors() -> None:
    """Guards against two posters or two control planes that wait for each other."""
    made = programs(
        ("proxy", "admin", "worker"),
        {"proxy": 3, "metrics": 4, "admin": 5},
        {},
        data_dir=Path("data"),
        workers=[0, 3],
        drain_seconds=30,
        simulated_models=(),
    )
    assert {program.module for program in made if program.overlaps} == {"proxy.worker"}
    numbers = [program.arguments[-1] for program in made if program.overlaps]
    assert numbers == ["0", "3"]
    assert len({program.name for program in made}) == len(made)
