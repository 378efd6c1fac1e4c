"""The program as click sees it: commands that are imported when used, typos answered from the table."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from imagekit import __version__
from imagekit.cli.examples import EXAMPLES, epilog
from imagekit.cli.log import open_log
from imagekit.cli.main import COMMANDS, top_help
from imagekit.cli.options import attach_common, no_color_option, quiet_option, verbose_option
from imagekit.cli.output import suggest, talk_of, warn
from imagekit.errors import UsageError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Lazy(click.Group):
    """A group that imports a command only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        _, module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        dress(command, cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str],
                        ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; its log begins before its module is imported, as that may fail too."""
        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"cannot run {name!r}: no such command", hint=suggest(name, COMMANDS))
        if not ctx.resilient_parsing and not {"-h", "--help"} & set(args):
            talk = talk_of(ctx)
            asked = ctx.params.get("log_file")
            path = open_log(talk.argv, command=name, path=asked)
            if asked and path is None:
                warn(f"cannot write {asked}: this run has no log")
            talk.log_path = str(path) if path else None
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(top_help() + "\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table; click's own would import every command for its help line."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=entry[3]) for name, entry in COMMANDS.items() if name.startswith(incomplete)]


def dress(command: click.Command, name: str) -> None:
    """Give a command, and those under it, what all have: `-h`, the common options, examples in the help."""
    command.context_settings = {**CONTEXT, **command.context_settings}
    command.short_help = command.short_help or first_sentence(command.help or "")
    if not command.epilog and name in EXAMPLES:
        command.epilog = epilog(EXAMPLES[name])
    if isinstance(command, click.Group):
        for below, child in command.commands.items():
            dress(child, f"{name} {below}")
    else:
        attach_common(command)


def first_sentence(text: str) -> str:
    """Of a help text, for the list of a group: click's own would be cut off where a line ends."""
    return re.split(r"(?<=\.) ", " ".join(text.partition("\n\n")[0].split()), maxsplit=1)[0]


@click.group(cls=Lazy, context_settings=CONTEXT, no_args_is_help=False)
@verbose_option
@quiet_option
@no_color_option
@click.option("--log-file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the log of this run to FILE.")
@click.version_option(__version__, message="imagekit %(version)s")
def program(log_file: Path | None) -> None:
    """Build and boot signed A/B images."""
