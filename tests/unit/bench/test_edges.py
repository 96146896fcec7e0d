"""The pure parts of the edges: what a line says of its aim, and stamps read wherever a stream is split."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import wire
from bench.client import BrokenStream
from bench.edges import __main__ as edges
from bench.edges import prompts
from bench.edges.lines import Line
from bench.edges.slow_client import StreamReader
from bench.edges.slow_engine import _rendered
from bench.edges.workers import Carried
from bench.processes import pin


def _stream(*numbers: int) -> bytes:
    before, after, tail = _rendered()
    return b"".join(before + b"@%06d %018d" % (number, 1000 + number) + after for number in numbers) + tail


def test_stamps_are_found_at_every_split() -> None:
    """A stamp that lies across two reads must be counted once."""
    whole = _stream(0, 1, 2)
    for place in range(len(whole) + 1):
        reader = StreamReader()
        assert reader.feed(whole[:place]) + reader.feed(whole[place:]) == [1000, 1001, 1002]
        assert reader.ended


def test_a_lost_chunk_is_noticed() -> None:
    """A proxy that drops a chunk must not pass for a quick one."""
    with pytest.raises(BrokenStream):
        StreamReader().feed(_stream(0, 2))


def test_a_line_holds_its_median_against_its_aim() -> None:
    """A figure without an aim is neither met nor missed, and bounds go the right way."""
    assert Line("a", "b", "c", (1.0, 9.0, 2.0), at_most=2).is_met is True
    assert Line("a", "b", "c", (1.0, 9.0, 2.0), at_least=3).is_met is False
    assert Line("a", "b", "c", (1.0,)).is_met is None


def test_what_the_load_took_is_no_loss_of_the_workers() -> None:
    """On two cores the load runs on one of theirs: what it and others used was not to be had, idling was."""
    alone = Carried(1000, ours=0.9, load=0.8, others=0.0, workers=(0.9,), cores=1)
    both = Carried(1400, ours=1.2, load=0.5, others=0.1, workers=(0.6, 0.6), cores=2)
    assert alone.per_core == pytest.approx(1000)
    assert both.per_core == pytest.approx(1000)


def test_a_long_prompt_is_as_long_as_it_says_and_is_found_by_the_engine() -> None:
    """The engine looks for its marker, and what it does not find it answers as something else."""
    body = prompts.body()
    assert abs(len(body) - prompts.PROMPT_BYTES) < 1000
    assert wire.wanted(body) == wire.Wanted("unary", wire.UNARY_TOKENS)


def test_a_measurement_is_not_bound_to_the_core_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Guards against a subject, its engine and its load on one core, in all measurements but the first."""
    found: list[set[int]] = []

    def measure() -> list[Line]:
        found.append(os.sched_getaffinity(0))
        pin(min(found[0]))
        return []

    names = ("streams", "posting")
    for name in names:
        monkeypatch.setitem(sys.modules, f"bench.edges.{name}", SimpleNamespace(measure=measure))
    monkeypatch.setattr(edges, "priority", nullcontext)
    edges.main([*names, "--results", str(tmp_path)])
    assert found[1] == found[0] == os.sched_getaffinity(0)
