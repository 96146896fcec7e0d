"""What a start leaves in the data folder for commands that come later."""

from pathlib import Path

from admin.data_folder import (
    claim,
    is_claimed,
    keep_engines,
    keep_places,
    kept_engines,
    kept_places,
    prepare,
)


def test_the_engines_served_are_known_to_commands(tmp_path: Path) -> None:
    """Guards `metergate reconcile` right after a start whose engines only the command line names."""
    assert kept_engines(tmp_path / "missing") == ()
    prepare(tmp_path)
    assert kept_engines(tmp_path) == ()
    keep_engines(tmp_path, ["http://127.0.0.1:8000", "http://127.0.0.1:8001"])
    keep_engines(tmp_path, ["http://127.0.0.1:8001"])
    assert kept_engines(tmp_path) == ("http://127.0.0.1:8001",)


def test_a_folder_tells_whether_it_is_served(tmp_path: Path) -> None:
    """Guards `metergate doctor` against engines of a metergate that ended long ago."""
    assert not is_claimed(tmp_path, "proxy")
    prepare(tmp_path)
    held = claim(tmp_path, "proxy")
    assert is_claimed(tmp_path, "proxy") and not is_claimed(tmp_path, "admin")
    held.close()
    assert not is_claimed(tmp_path, "proxy")


def test_where_a_role_is_reached_is_known_to_commands(tmp_path: Path) -> None:
    """Guards `metergate doctor` against ports of the settings, where a running metergate has others."""
    assert kept_places(tmp_path / "missing", "proxy") == {}
    prepare(tmp_path)
    assert kept_places(tmp_path, "proxy") == {}
    places = {"the data plane": "http://127.0.0.1:1", "the metrics page": "http://[::1]:2"}
    keep_places(tmp_path, "proxy", places)
    keep_places(tmp_path, "admin", {"the control plane": "http://127.0.0.1:3"})
    assert kept_places(tmp_path, "proxy") == places
