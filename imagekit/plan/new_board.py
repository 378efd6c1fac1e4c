"""Write the data of a new board after that of another: the same text with other names, comments kept.

Pure: the files of the one go in, those of the new one come out. Only the lines that hold a name are changed, so what
somebody wrote beside them stays. Whoever carries it out reads the result back with the parsers of each document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.errors import PlanError, UsageError
from imagekit.packages.snapyaml import NAME_PATTERN

GADGET_YAML, RECIPE_YAML = "gadget.yaml", "recipe.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFiles:
    """All that is a board's own: the files of its folder by name, its model and its machine, where it has them."""

    name: str
    folder: Mapping[str, bytes]
    model: bytes | None
    machine: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file to write, relative to the project."""

    path: str
    content: bytes


def plan_new_board(name: str, other: BoardFiles) -> tuple[NewFile, ...]:
    """The files of board `name`, made after `other`.

    Raises:
        UsageError: the name cannot be one.
        PlanError: a document of the other has its name where it is not looked for.
    """
    if not re.match(NAME_PATTERN, name) or name == other.name:
        raise UsageError(f"cannot make board {name!r}: 2 to 40 of a-z, 0-9 and hyphen are allowed, and another name"
                         f" than {other.name!r}")
    files = []
    for file, content in sorted(other.folder.items()):
        if file == GADGET_YAML:
            content = _changed(content, [(rf"^(  +){re.escape(other.name)}:(?=\s*$)", rf"\g<1>{name}:")], file, other)
        elif file == RECIPE_YAML:
            content = _changed(content, [(rf"^name: {re.escape(other.name)}(?=\s*$)", f"name: {name}")], file, other)
            content = _titled(content, name, other.name)
        files.append(NewFile(path=f"gadgets/{name}/{file}", content=content))
    if other.model is not None:
        files.append(NewFile(path=f"models/{name}.yaml", content=_changed(other.model, [
            (r"^model: .*$", f"model: {name}"),
            (rf"(?<=name: ){re.escape(other.name)}(?=, type: gadget)", name)], "model", other)))
    if other.machine is not None:
        files.append(NewFile(path=f"qemu/{name}.yaml", content=_changed(other.machine, [
            (rf"^name: {re.escape(other.name)}(?=\s*$)", f"name: {name}")], f"qemu/{other.name}.yaml", other)))
    return tuple(files)


def _changed(raw: bytes, changes: list[tuple[str, str]], file: str, other: BoardFiles) -> bytes:
    """Each change once."""
    text = raw.decode()
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
        if not count:
            raise PlanError(f"cannot make a board like {other.name!r}: its {file} does not have its name on a line of"
                            " its own", hint="copy the folder and change the names by hand")
    return text.encode()


def _titled(raw: bytes, name: str, other: str) -> bytes:
    """The recipe with a title that asks to be changed, and the first revision."""
    text = re.sub(r"^(  title: ).*$", rf"\g<1>{name} (like {other})", raw.decode(), count=1, flags=re.MULTILINE)
    return re.sub(r"^revision: \d+(?=\s*(#|$))", "revision: 1", text, count=1, flags=re.MULTILINE).encode()
