"""The program: groups, lazy commands, one place where errors become messages and exit codes."""

from __future__ import annotations

import importlib

import click

# command name -> (help group, module, attribute, one line of help). A module is imported when its command is used.
COMMANDS: dict[str, tuple[str, str, str, str]] = {
    "key": ("Trust", "imagekit.cli.trust", "key", "create and keep signing keys"),
    "sign": ("Trust", "imagekit.cli.trust", "sign", "sign a model, a package or any assertion"),
    "verify": ("Trust", "imagekit.cli.trust", "verify", "verify assertions and show their chain"),
    "lock": ("Images", "imagekit.cli.pack", "lock", "pin the Debian parts of the recipes"),
    "pack": ("Images", "imagekit.cli.pack", "pack", "make a package from a recipe"),
    "plan": ("Images", "imagekit.cli.image", "plan", "show what a model becomes, and where it lies"),
    "build": ("Images", "imagekit.cli.image", "build", "make a disk image from a signed model"),
    "boot": ("QEMU", "imagekit.cli.boot", "boot", "boot an image and tell whether it is healthy"),
}


class Lazy(click.Group):
    """A group that imports a command only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        _, module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Lazy)
def main() -> None:
    """Build, boot, flash and update signed A/B images."""
