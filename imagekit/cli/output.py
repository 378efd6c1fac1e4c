"""What the program says: data on stdout, talk on stderr, everything in the log.

Colours and drawn tables appear on a terminal only; elsewhere the text is plain, complete and never cropped. rich is
imported when something is drawn with it, not before. How much is said is carried by the root of click's context, so
that there is no hidden state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

import click

if TYPE_CHECKING:
    from rich.console import Console

LOG = logging.getLogger("imagekit.cli")


@dataclasses.dataclass(slots=True, kw_only=True)
class Talk:
    """How much this run says, and what it has said."""

    argv: tuple[str, ...] = ()
    verbosity: int = 0  # below zero: only what went wrong; above: more
    color: bool | None = None  # None: as the terminal and the environment say
    emitted: bool = False  # JSON has gone to stdout
    log_path: str | None = None


def talk_of(ctx: click.Context | None = None) -> Talk:
    """The `Talk` of the running command; a fresh one where no command runs."""
    current = ctx or click.get_current_context(silent=True)
    if current is None:
        return Talk()
    root = current.find_root()
    if not isinstance(root.obj, Talk):
        root.obj = Talk()
    return root.obj


def colors_wanted(stream: TextIO, *, talk: Talk, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` shall get colours: option, then NO_COLOR, FORCE_COLOR, TERM, then whether it is a terminal."""
    if talk.color is not None:
        return talk.color
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR") or environ.get("CLICOLOR_FORCE"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def drawn(stream: TextIO, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether lines may be drawn and moved on `stream`: a terminal that is not dumb."""
    return environ.get("TERM") != "dumb" and stream.isatty()


def console(*, stderr: bool = False) -> Console:
    """A rich console on stdout (data) or stderr (talk). Only for a terminal: off it, use `write` and `table`."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wanted = colors_wanted(stream, talk=talk_of())
    return Console(file=stream, no_color=not wanted, force_terminal=drawn(stream) or None, highlight=False)


def write(text: str) -> None:
    """Data for people on stdout, as it is, with a newline."""
    LOG.debug("out: %s", text)
    click.echo(text)


def emit_json(value: Any) -> None:
    """Data for programs on stdout: one JSON document, keys sorted, two spaces, a newline at the end."""
    text = plain_json(value)
    LOG.debug("out: %s", text)
    click.echo(text)
    talk_of().emitted = True


def write_report(value: Any, path: Path | None) -> None:
    """The same document into a file, where one is named (`options.report_option`)."""
    if path is not None:
        from imagekit.host.files import write_atomic

        write_atomic(path, plain_json(value).encode() + b"\n")


def plain_json(value: Any) -> str:
    """The document's text, without the newline at its end; a byte in a name that is no UTF-8 as `\\udc..`."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (PurePath, UUID)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def say(text: str) -> None:
    """Talk: one line on stderr, unless --quiet."""
    LOG.info("%s", text)
    if talk_of().verbosity >= 0:
        click.echo(text, err=True)


def detail(text: str) -> None:
    """Talk that only --verbose shows; the log always has it."""
    LOG.debug("%s", text)
    if talk_of().verbosity > 0:
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Talk that --quiet does not silence."""
    LOG.warning("%s", text)
    click.echo(f"warning: {text}", err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = (),
          title: str | None = None) -> None:
    """A table on stdout: drawn on a terminal, otherwise plain columns with every value in full.

    `right` names the columns that hold numbers.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not drawn(sys.stdout) or not fits(columns, cells, console().width):
        write(plain_table(columns, cells, right=right))
        return
    from rich.table import Table
    from rich.text import Text

    drawing = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        drawing.add_column(name, justify="right" if name in right else "left", overflow="fold",
                           no_wrap=name != columns[-1])
    for row in cells:
        drawing.add_row(*(Text(cell) for cell in row))
    LOG.debug("out: %s", plain_table(columns, cells, right=right))
    console().print(drawing)


def fits(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table can be drawn in `width` when only its last column is folded: no word there is too long."""
    lines = [columns, *rows]
    before = sum(max(len(line[index]) for line in lines) + 2 for index in range(len(columns) - 1))
    return before + max(len(word) for line in lines for word in line[-1].split() or [""]) <= width


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """The table as text: columns two spaces apart, nothing cropped, no space at a line's end."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]

    def render(line: Sequence[str]) -> str:
        parts = (cell.rjust(width) if name in right else cell.ljust(width)
                 for cell, width, name in zip(line, widths, columns, strict=True))
        return "  ".join(parts).rstrip()

    return "\n".join(render(line) for line in lines)


def short_path(path: str | PurePath) -> str:
    """The shortest way to write a path that a shell here understands: from this folder, or from one's home."""
    with contextlib.suppress(OSError, RuntimeError):  # a folder that was removed, a user without a home
        whole = Path(path).absolute()
        for folder, mark in ((Path.cwd(), "."), (Path.home(), "~")):
            if folder != Path("/") and whole.is_relative_to(folder):
                return f"{mark}/{whole.relative_to(folder)}".removeprefix("./")
    return str(path)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """A hint for a mistyped name: what was probably meant, else what there is; None where there is nothing."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(name) for name in near) + "?"
    return "there is: " + ", ".join(names) if names else None
