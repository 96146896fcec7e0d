"""The tree of commands, whole and by a first word."""

import pytest
import typer
from typer.core import TyperGroup

from admin.cli.entry import COMMANDS, GROUPS, tree


@pytest.mark.parametrize("word", [*COMMANDS, *GROUPS])
def test_each_command_is_found_by_its_first_word_alone(word: str) -> None:
    """Guards against a command that the whole tree has, and that nobody can call; and against a start that
    imports all others.
    """
    command = typer.main.get_command(tree(word))
    assert isinstance(command, TyperGroup)
    everything = typer.main.get_command(tree())
    assert isinstance(everything, TyperGroup)
    assert word in command.commands
    assert set(command.commands) < set(everything.commands)
    assert set(everything.commands) == {*COMMANDS, *GROUPS}
