"""What waits for a beat wakes together."""

import pytest

from ledger import pause


@pytest.mark.parametrize("period", [0.25, 0.5, 1.0, 2.0])
def test_all_who_wait_for_beats_wake_at_the_same_moments(
    monkeypatch: pytest.MonkeyPatch, period: float
) -> None:
    """Guards against a process whose tasks wake one after another, each at its own time, and against one that
    wakes twice for a beat, since its timer was early.
    """
    for late in (0.0, 0.001, 0.2, 0.3, 0.7, 0.999, 1.3, 100.1, -0.001 % period):
        monkeypatch.setattr(pause.time, "monotonic", lambda now=pause._BEGAN + late: now)
        left = pause.to_beat(period)
        assert period / 100 < left < 1.06 * period
        beats = (late + left) / period
        assert beats == pytest.approx(round(beats), abs=1e-6)
