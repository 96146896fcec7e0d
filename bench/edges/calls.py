"""Unstreamed calls on a running subject, from so many connections as fast as they are answered.

Must not know what is asked of the figures.
"""

from __future__ import annotations

from pathlib import Path

from bench import wrk
from bench.meter import Meter
from bench.subjects import Subject


class Calls:
    """One load: `body` is the everyday one unless another is given."""

    def __init__(self, subject: Subject, folder: Path, *, connections: int, body: bytes = wrk.BODY) -> None:
        self._subject = subject
        self._folder = folder
        self._connections = connections
        self._body = body

    def drive(self, duration_s: float) -> wrk.Driven:
        """Puts it on the subject. Raises CallsFailed."""
        return wrk.drive(
            self._subject.url,
            headers={"Authorization": f"Bearer {self._subject.key}", **self._subject.headers},
            connections=self._connections,
            duration_s=duration_s,
            folder=self._folder,
            body=self._body,
        )

    def warm_up(self) -> None:
        """A first second, all of it posted."""
        self.drive(1)
        self._subject.recorded()

    def cpu_us(self, meter: Meter, duration_s: float) -> float:
        """CPU of the subject's tree for one of them, posting included."""
        meter.begin()
        driven = self.drive(duration_s)
        meter.load_ended()
        self._subject.recorded()
        meter.end()
        return meter.cpu_us / driven.calls
