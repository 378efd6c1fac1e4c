"""`imagekit completion`: the scripts that make shells ask this program what may follow. They are click's own."""

from __future__ import annotations

import click

from imagekit.cli.output import write

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL: bash, zsh or fish."""
    write(script(shell))


def script(shell: str) -> str:
    """The text to be sourced by `shell`."""
    from click.shell_completion import get_completion_class

    from imagekit.cli.group import program

    kind = get_completion_class(shell)
    assert kind is not None
    asker = kind(program, {}, "imagekit", "_IMAGEKIT_COMPLETE")
    return asker.source_template % asker.source_vars()  # without bash's version being asked
