"""Examples in the help are real command lines."""

from __future__ import annotations

import shlex
from importlib.util import find_spec

import click
import pytest

from imagekit.cli.examples import EXAMPLES
from imagekit.cli.group import program
from imagekit.cli.main import COMMANDS, FIRST_STEPS

PRESENT = {name for name, (_, module, _, _) in COMMANDS.items() if find_spec(module)}
LINES = [line[line.index("imagekit "):] for line in (  # behind what pipes into it
    *(line for examples in EXAMPLES.values() for line, _ in examples), *FIRST_STEPS)]


def parse(line: str) -> None:
    """Take the line apart with the parsers of the commands that it names, without running anything."""
    words = shlex.split(line.partition(" > ")[0])
    assert words.pop(0) == "imagekit"
    command: click.Command = program
    ctx = click.Context(program, info_name="imagekit")
    while isinstance(command, click.Group):
        name = words.pop(0)
        below = command.get_command(ctx, name)
        assert below is not None, f"{line}: no command {name!r}"
        command = below
        ctx = click.Context(command, info_name=name, parent=ctx)
    command.make_parser(ctx).parse_args(words)


def test_every_command_has_two_examples() -> None:
    assert {name for name in EXAMPLES if " " not in name} == set(COMMANDS)
    assert all(len(examples) >= 2 for examples in EXAMPLES.values())


@pytest.mark.parametrize("line", [line for line in LINES if line.split()[1] in PRESENT])
def test_example_parses(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if " " in name])
def test_example_of_a_command_below_another_is_of_a_command_that_there_is(name: str) -> None:
    above, below = name.split()
    command = program.get_command(click.Context(program), above)
    assert isinstance(command, click.Group) and below in command.commands
