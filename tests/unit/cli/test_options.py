"""One option, one meaning: the same name, letter and help rules for every command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from imagekit.cli.group import program
from imagekit.cli.main import COMMANDS
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import talk_of


def commands() -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(program)
    for name, (_, module, _, _) in COMMANDS.items():
        if find_spec(module):
            command = program.get_command(ctx, name)
            assert command is not None
            yield from below(name, command)


def below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child, it in command.commands.items():
            yield from below(f"{name} {child}", it)


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_command_has_the_common_options_and_a_line_of_help(name: str) -> None:
    command = ALL[name]
    assert command.help and command.help.strip()
    if not isinstance(command, click.Group):
        names = {option for param in command.params for option in param.opts}
        assert {"-v", "--verbose", "-q", "--quiet", "--no-color"} <= names


@pytest.mark.parametrize("name", ALL)
def test_help_of_a_command_ends_with_examples(name: str) -> None:
    with click.Context(ALL[name], info_name=name) as ctx:
        assert f"imagekit {name}" in ctx.command.get_help(ctx).partition("Examples:")[2]


@pytest.mark.parametrize("name", ALL)
def test_choice_of_an_option_is_one_word_of_a_shell(name: str) -> None:
    for choice in (param.type for param in ALL[name].params if isinstance(param.type, click.Choice)):
        assert [shlex.quote(str(word)) for word in choice.choices] == list(map(str, choice.choices))


@pytest.mark.parametrize("width", [80, 100])
def test_list_of_a_groups_commands_cuts_no_sentence_off(width: int) -> None:
    for name, command in ALL.items():
        with click.Context(command, info_name=name, terminal_width=width) as ctx:
            listed = command.get_help(ctx).partition("Commands:")[2].partition("Examples:")[0]
        assert "..." not in listed.replace("https://...", ""), name


def test_what_an_option_takes_has_a_name_of_its_own() -> None:
    plain = [(name, param.opts) for name, command in ALL.items() for param in command.params
             if isinstance(param, click.Option) and not param.is_flag and not param.count and not param.metavar
             and not isinstance(param.type, click.Choice)]
    assert plain == []


def test_a_letter_stands_for_one_word_everywhere() -> None:
    meaning: dict[str, set[str]] = {}
    for command in ALL.values():
        for param in command.params:
            long = next((name for name in param.opts if name.startswith("--")), None)
            for letter in (name for name in param.opts if long and not name.startswith("--")):
                meaning.setdefault(letter, set()).add(str(long))
    assert {letter: words for letter, words in meaning.items() if len(words) > 1} == {}


def test_every_option_has_a_help_text() -> None:
    silent = [(name, param.name) for name, command in ALL.items() for param in command.params
              if isinstance(param, click.Option) and not param.help and not param.hidden]
    assert silent == []


def test_trust_comes_from_options_or_from_the_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()

    @click.command()
    @trust_option
    def show(trust: tuple[Path, ...]) -> None:
        click.echo(" ".join(path.name for path in trust))

    runner = CliRunner()
    assert runner.invoke(show, ["--trust", str(one), "--trust", str(two)]).output == "one two\n"
    assert runner.invoke(show, env={"IMAGEKIT_TRUST": f"{one}:{two}"}).output == "one two\n"
    assert runner.invoke(show, ["--trust", str(tmp_path / "gone")]).exit_code == 2


def test_output_and_json_are_handed_over() -> None:
    @click.command()
    @output_option
    @json_option
    def show(output: Path | None, as_json: bool) -> None:
        click.echo(f"{output!r} {as_json}")

    assert CliRunner().invoke(show, ["-o", "x", "--json"]).output == f"{Path('x')!r} True\n"
    assert CliRunner().invoke(show, []).output == "None False\n"


@pytest.mark.parametrize(("words", "verbosity"), [([], 0), (["-v"], 1), (["-vv"], 2), (["-q"], -1)])
def test_verbosity_is_carried_by_the_context(words: list[str], verbosity: int) -> None:
    from imagekit.cli.options import quiet_option, verbose_option

    @click.command()
    @verbose_option
    @quiet_option
    def show() -> None:
        click.echo(talk_of().verbosity)

    assert CliRunner().invoke(show, words).output == f"{verbosity}\n"
