"""The recipes: their configuration names the engine and the key, and a peer that is not installed says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.peers import PEERS
from bench.peers import peer as recipes
from bench.peers.peer import RECIPES, Peer
from bench.roster import BASELINE, SUBJECTS

_ENGINE = "http://127.0.0.1:12345"


def _said(peer: Peer) -> str:
    """Everything that it is told, in one string."""
    parts = [*peer.command(), *peer.environ().values(), *peer.files().values(), *peer.headers.values()]
    return "\n".join(parts)


@pytest.mark.parametrize("name", PEERS)
def test_a_recipe_names_the_engine_and_its_port(name: str, tmp_path: Path) -> None:
    """A peer that asks elsewhere would be measured on its errors."""
    peer = PEERS[name](_ENGINE, tmp_path, 0)
    assert _ENGINE in _said(peer)
    assert str(peer.port) in _said(peer)


@pytest.mark.parametrize("name", PEERS)
def test_a_recipe_says_what_it_does_and_how_it_is_had(name: str) -> None:
    """A figure beside ours means little to who does not know what it pays for."""
    assert PEERS[name].does
    assert PEERS[name].elsewhere


@pytest.mark.parametrize("name", ["litellm", "ferrogw"])
def test_who_checks_keys_is_given_the_key_of_the_load(name: str, tmp_path: Path) -> None:
    peer = PEERS[name](_ENGINE, tmp_path, 0)
    assert peer.key in _said(peer)


@pytest.mark.parametrize("name", ["litellm", "vllm-router", "ferrogw"])
def test_what_comes_from_pypi_is_pinned(name: str) -> None:
    """Another version is another peer."""
    lines = (RECIPES / f"{name}.txt").read_text().splitlines()
    assert f"{name}=={PEERS[name].version}" in lines
    assert all("==" in line for line in lines)


def test_what_comes_from_npm_is_pinned() -> None:
    """And names no registry, so that it installs from whichever is configured."""
    lock = json.loads((RECIPES / "portkey" / "package-lock.json").read_text())
    packages = lock["packages"]
    assert packages["node_modules/@portkey-ai/gateway"]["version"] == PEERS["portkey"].version
    assert not any("resolved" in package for package in packages.values())


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_installed_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is left out: a benchmark that needs a gigabyte of others first is run by nobody."""
    monkeypatch.setattr(recipes, "INSTALLED", tmp_path)
    assert "left out" in (PEERS[name].missing() or "")


def test_nginx_comes_first_and_everybody_is_in_the_roster() -> None:
    assert next(iter(SUBJECTS)) == BASELINE == "nginx"
    assert set(PEERS) < set(SUBJECTS)
