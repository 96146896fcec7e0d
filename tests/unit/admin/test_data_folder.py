"""What a start leaves in the data folder for commands that come later."""

from pathlib import Path

from admin.data_folder import keep_engines, kept_engines, prepare


def test_the_engines_served_are_known_to_commands(tmp_path: Path) -> None:
    """Guards `metergate reconcile` right after a start whose engines only the command line names."""
    assert kept_engines(tmp_path / "missing") == ()
    prepare(tmp_path)
    assert kept_engines(tmp_path) == ()
    keep_engines(tmp_path, ["http://127.0.0.1:8000", "http://127.0.0.1:8001"])
    keep_engines(tmp_path, ["http://127.0.0.1:8001"])
    assert kept_engines(tmp_path) == ("http://127.0.0.1:8001",)
