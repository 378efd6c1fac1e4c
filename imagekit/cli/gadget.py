"""`imagekit gadget`: the commands about a board's gadget."""

from __future__ import annotations

import click

from imagekit.cli.gadget_layout import diff, show


@click.group(no_args_is_help=True)
def gadget() -> None:
    """Check, show and compare gadgets."""


gadget.add_command(show)
gadget.add_command(diff)
