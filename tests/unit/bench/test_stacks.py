"""A profile's stacks as a table and as a flame graph."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.stacks import flame_graph, read, table

_LINES = [
    "main;serve;relay 30",
    "main;serve 10",
    "main;serve;relay 20",
    "main;<frozen importlib>;load 900",
    "",
]


def test_what_is_left_out_does_not_count() -> None:
    """A start's imports would hide what a call costs."""
    assert read(_LINES, without=("importlib",)) == {
        ("main", "serve", "relay"): 50,
        ("main", "serve"): 10,
    }


def test_a_function_has_what_it_takes_itself_and_what_is_under_it() -> None:
    shown = table(read(_LINES, without=("importlib",)))
    assert "| 83.3% | 83.3% | `relay` |" in shown
    assert "| 16.7% | 100.0% | `serve` |" in shown


def test_a_function_that_calls_itself_counts_once() -> None:
    """Else it would take more than all there is."""
    assert "| 100.0% | 100.0% | `walk` |" in table(read(["walk;walk;walk 5"]))


def test_a_flame_graph_is_as_wide_as_the_shares() -> None:
    """And is well-formed, whatever characters a function's name has."""
    graph = ElementTree.fromstring(flame_graph(read(_LINES), "a <title>"))
    space = "{http://www.w3.org/2000/svg}"
    widths = {
        group.find(f"{space}title").text: float(group.find(f"{space}rect").get("width"))  # type: ignore[union-attr, arg-type]
        for group in graph.findall(f"{space}g")
    }
    assert widths["all: 100.0%"] == 1600
    assert widths["<frozen importlib>: 93.8%"] == 1500


def test_no_samples_are_no_fault() -> None:
    assert "0 samples" in table({})
    ElementTree.fromstring(flame_graph({}, "nothing"))
