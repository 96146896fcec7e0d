"""A subject that runs for one measurement, and that nothing of what passed through it is missing.

Must not know what is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from bench.engine_process import Engine
from bench.processes import Cores, prefer_sessions, tree
from bench.subjects import Subject
from bench.wrk import CallsFailed

S = TypeVar("S", bound=Subject)


@contextmanager
def running(make: Callable[[str, Path, int], S], engine: Engine, cores: Cores) -> Iterator[tuple[S, Path]]:
    """Started, in a folder of its own; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as folder:
        subject = make(engine.url, Path(folder), cores.subject)
        try:
            subject.start()
            prefer_sessions(tree(subject.pid))
            if subject.database_pid:
                prefer_sessions(tree(subject.database_pid))
            yield subject, Path(folder)
        finally:
            subject.stop()


@contextmanager
def every_call_recorded(subject: Subject, engine: Engine) -> Iterator[None]:
    """At the end the subject's ledger, where it keeps one, has what the engine has answered meanwhile.

    Raises CallsFailed.
    """
    answered, recorded = engine.settled().passed, subject.recorded()
    yield
    passed, now = engine.settled().passed.minus(answered), subject.recorded()
    if recorded is None or now is None:
        return
    if now.minus(recorded) != passed:
        raise CallsFailed(f"{now.minus(recorded)} in the ledger of {subject.name}, {passed} from the engine")
