"""Options that mean the same everywhere: one spelling, one letter, one help text.

`-v`, `-q` and `--no-color` may stand before or after the command; `attach_common` gives them to every command that does
not bring its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from imagekit.cli.output import talk_of

F = TypeVar("F", bound=Callable[..., Any])


def _louder(ctx: click.Context, _: click.Parameter, value: int) -> None:
    if value:
        talk_of(ctx).verbosity = value


def _quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        talk_of(ctx).verbosity = -1


def _no_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        talk_of(ctx).color = False


def verbose_option(function: F) -> F:
    """`-v`, also `-vv`: say more. Not passed to the command: `output.detail` asks."""
    return click.option("-v", "--verbose", count=True, expose_value=False, callback=_louder,
                        help="Tell more.")(function)


def quiet_option(function: F) -> F:
    """`-q`: say only what went wrong. Not passed to the command."""
    return click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet,
                        help="Tell only what went wrong.")(function)


def no_color_option(function: F) -> F:
    """`--no-color`. Not passed to the command."""
    return click.option("--no-color", is_flag=True, expose_value=False, callback=_no_color,
                        help="No colours.")(function)


def json_option(function: F) -> F:
    """`--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def trust_option(function: F) -> F:
    """`--trust DIR` (repeatable, or IMAGEKIT_TRUST with colons), passed as `trust: tuple[Path, ...]`."""
    return click.option("--trust", metavar="DIR", multiple=True, envvar="IMAGEKIT_TRUST", show_envvar=True,
                        type=click.Path(path_type=Path, exists=True, file_okay=False),
                        help="Folder with roots of trust, besides your own.")(function)


def output_option(function: F) -> F:
    """`-o/--output PATH`, passed as `output: Path | None`."""
    return click.option("-o", "--output", metavar="PATH", type=click.Path(path_type=Path),
                        help="Where the result goes.")(function)


def folder_option(function: F) -> F:
    """`-o/--output DIR` of commands that make several files, passed as `output: Path | None`."""
    return click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path),
                        help="Folder for what is made; it must be named.")(function)


def report_option(function: F) -> F:
    """`-o/--output FILE` of commands that answer with a report, passed as `output: Path | None`; always JSON."""
    return click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
                        help="Write the answer as JSON to FILE, too.")(function)


@click.command()
@verbose_option
@quiet_option
@no_color_option
def _common() -> None:
    """Never run: it only holds the options."""


def attach_common(command: click.Command) -> None:
    """Give `command` the options that every command has, where it does not have them already."""
    taken = {name for param in command.params for name in param.opts}
    command.params += [option for option in _common.params if not taken & set(option.opts)]
