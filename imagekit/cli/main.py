"""The program: which commands there are, the help that needs no command, and the way into the rest.

Only the table below is known before a command is asked for, so that `imagekit --help` costs little more than starting
Python: click comes in with the first real command, and a command's module when that command is used. How a failure is
told is `imagekit.cli.failure`'s business.
"""

from __future__ import annotations

import os
import sys

from imagekit import __version__

TYPE_CHECKING = False  # the typing module itself costs a tenth of the help's time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

# command name -> (help group, module, attribute, one line of help). A module is imported when its command is used.
COMMANDS: dict[str, tuple[str, str, str, str]] = {
    "key": ("Trust", "imagekit.cli.trust", "key", "create and keep signing keys"),
    "sign": ("Trust", "imagekit.cli.trust", "sign", "sign a model, a package or any assertion"),
    "verify": ("Trust", "imagekit.cli.verify", "verify", "verify assertions and packages, and show their chain"),
    "trust": ("Trust", "imagekit.cli.roots", "trust", "say whom you trust"),
    "lock": ("Images", "imagekit.cli.pack", "lock", "pin the Debian parts of the recipes"),
    "pack": ("Images", "imagekit.cli.pack", "pack", "make a package from a recipe"),
    "snap": ("Images", "imagekit.cli.snap", "snap", "check what packages say of themselves"),
    "plan": ("Images", "imagekit.cli.image", "plan", "show what a model becomes, and where it lies"),
    "build": ("Images", "imagekit.cli.image", "build", "make a disk image from a signed model"),
    "inspect": ("Images", "imagekit.cli.inspect", "inspect", "look into packages and images"),
    "gadget": ("Boards", "imagekit.cli.gadget", "gadget", "check, show and compare gadgets"),
    "board": ("Boards", "imagekit.cli.board", "board", "list, show and make boards; flash and recover them by cable"),
    "flash": ("Media", "imagekit.cli.flash", "flash", "write images to cards and disks, and read them back"),
    "factory": ("Media", "imagekit.cli.factory", "factory", "run a station that makes and records units"),
    "boot": ("QEMU", "imagekit.cli.boot", "boot", "boot an image and tell whether it is healthy"),
    "powercut": ("QEMU", "imagekit.cli.powercut", "powercut", "cut the power at every write of a device"),
    "store": ("Fleet", "imagekit.cli.store", "store", "publish updates for devices"),
    "doctor": ("This machine", "imagekit.cli.doctor", "doctor", "check that this machine has what is needed"),
    "completion": ("This machine", "imagekit.cli.completion", "completion", "print the completion script of a shell"),
}

GLOBAL_OPTIONS = (
    ("-v, --verbose", "tell more"),
    ("-q, --quiet", "tell only what went wrong"),
    ("--no-color", "no colours (so does NO_COLOR in the environment)"),
    ("--log-file FILE", "write the log of this run to FILE"),
    ("--version", "print the version"),
    ("-h, --help", "print this help; after a command, the command's"),
)

FIRST_STEPS = (
    "imagekit doctor",
    "imagekit key create acme",
    "imagekit pack pc-kernel debian-13 pc -o packages-out",
    "imagekit sign packages-out/*.snap -k acme",
    "imagekit sign models/pc-demo.yaml -k acme -o pc-demo.model",
    "imagekit build pc-demo.model --packages packages-out -o out",
    "imagekit boot out/pc-demo.img",
)


def top_help() -> str:
    """The help of the program itself, from the table alone."""
    width = max(len(name) for name in COMMANDS) + 2
    lines = ["Usage: imagekit [OPTIONS] COMMAND [ARGS]...", "", "Build and boot signed A/B images."]
    for group in dict.fromkeys(entry[0] for entry in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:{width}}{text}" for name, (of, _, _, text) in COMMANDS.items() if of == group]
    wide = max(len(names) for names, _ in GLOBAL_OPTIONS) + 2
    lines += ["", "Options:", *(f"  {names:{wide}}{text}" for names, text in GLOBAL_OPTIONS)]
    lines += ["", "Examples:", *(f"  {line}" for line in FIRST_STEPS)]
    lines += ["", "More about a command: imagekit COMMAND --help. Exit codes: docs/reference/exit-codes.md"]
    return "\n".join(lines)


class Program:
    """The entry point, with the face that click's test runner expects of a command."""

    name = "imagekit"

    def __call__(self) -> NoReturn:
        self.main()

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any) -> NoReturn:
        """Run one command line and exit with its code."""
        _open_streams()
        argv = list(sys.argv[1:] if args is None else args)
        if argv[:1] == ["help"]:
            argv = [*argv[1:], "--help"]
        if "_IMAGEKIT_COMPLETE" not in os.environ:
            if argv in (["--help"], ["-h"]):
                sys.exit(_print(top_help()))
            if argv == ["--version"]:
                sys.exit(_print(f"imagekit {__version__}"))
            if not argv:
                sys.stderr.write(top_help() + "\n")
                sys.exit(2)
        try:
            from imagekit.cli.failure import run
        except KeyboardInterrupt:  # nothing is begun yet
            sys.stderr.write("imagekit: interrupted\n")
            sys.exit(130)
        sys.exit(run(argv, prog_name=prog_name or self.name))


def _open_streams() -> None:
    """What was closed when the program was started leads nowhere: else a medium gets its number, and what is said."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(opened, mode))
            if opened == number:
                os.set_inheritable(number, True)


def forget_stdout() -> None:
    """Point stdout elsewhere once it has failed, or the interpreter complains while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _print(text: str) -> int:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        forget_stdout()
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"imagekit: cannot print: {os.strerror(error.errno or 0).lower()}\n")
            return 6
    return 0


main = Program()
