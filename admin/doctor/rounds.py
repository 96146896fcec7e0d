"""A round of looks: all at the same time, each in a thread of its own, all within one bound.

Rules: whatever hangs (a frozen database, a name server, a network disk) costs the round its bound and no
more; what a look had told until then counts; a look that fails is a finding. Threads that still hang are left
behind: they are daemons, and whoever asked ends the process.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from admin.doctor.finding import Finding, Look, note, wrong
from ledger.errors import LedgerError

SECONDS = 5.0
"""Longest round."""


@dataclass(frozen=True, slots=True)
class Round:
    """The findings, in the looks' order, and whether a look was left behind."""

    findings: list[Finding]
    is_left: bool


@dataclass(slots=True)
class _Place:
    """What one look has told so far."""

    look: Look
    told: list[Finding] = field(default_factory=list)
    is_closed: bool = False

    def tell(self, finding: Finding) -> None:
        if not self.is_closed:
            self.told.append(finding)

    def run(self) -> None:
        check, about = self.look.check, self.look.about
        try:
            self.look.run(self.tell)
        except LedgerError as fault:
            self.tell(wrong(check, str(fault), "see what stands there", about=about))
        except OSError as fault:
            do = "see to the file, or who may read it"
            self.tell(wrong(check, f"the look ended with {fault}", do, about=about))
        except Exception as fault:
            told = f"the look failed: {type(fault).__name__}: {fault}"
            self.tell(note(check, told, "report it", about=about))

    def give_up(self, seconds: float) -> None:
        do = "something hangs: a disk, a name server, or the other side"
        told = f"no answer in {seconds:g} s"
        self.tell(wrong(self.look.check, told, do, about=self.look.about))
        self.is_closed = True


def go_round(looks: Sequence[Look], *, seconds: float = SECONDS) -> Round:
    """Has all of them look, and waits for `seconds` at most."""
    places = [_Place(look) for look in looks]
    threads = [threading.Thread(target=place.run, name="doctor", daemon=True) for place in places]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    is_left = False
    for place, thread in zip(places, threads, strict=True):
        if thread.is_alive():
            is_left = True
            place.give_up(seconds)
    return Round([finding for place in places for finding in place.told], is_left)
