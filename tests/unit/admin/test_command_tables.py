"""Tables of the command line, on a terminal."""

import pytest

from admin.cli.command import print_table

ID = "session_9cVt4XqRz2Wn6KbLp8YcSd1E"
AT = "2026-11-28T16:03:12.992009Z"


def test_an_id_stays_in_one_piece_on_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against an id that is folded over three lines: nobody can copy it into the next command."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")  # no escapes between the words
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    row = {
        "id": ID,
        "created_at": AT,
        "seen_at": AT,
        "expires_at": AT,
        "address": "127.0.0.1",
        "agent": agent,
    }
    print_table([row], tuple(row))
    shown = capsys.readouterr().out
    assert ID in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
