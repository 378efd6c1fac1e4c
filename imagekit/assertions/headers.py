"""The header text of assertions: an indented notation of names, texts, lists and maps.

    headers = entry *( LF entry )                        at indent 0
    entry   = name ":" " " text                          one line, the rest of it kept exactly
            | name ":" 1*( LF indent+4 text )            a text with newlines
            | name ":" 1*( LF indent+2 "-" item )        a list; an item is " " text, or nested at indent+2
            | name ":" 1*( LF indent+2 entry )           a map, its entries at indent+2
    name    = a-z *( a-z | 0-9 | single inner "-" )

Texts are the only scalars. Empty lists and maps do not exist: the writer leaves them out. Source: snapd's assertion
format (docs/reference/assertions.md, "Text").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from imagekit.errors import DocumentError

Header: TypeAlias = "str | tuple[Header, ...] | Mapping[str, Header]"

MAX_NESTING = 64
NAME = re.compile(r"[a-z](?:-?[a-z0-9])*\Z")


def encode_entry(name: str, value: Header, indent: int = 0) -> Iterator[str]:
    """The lines of one header; none for an empty list or map.

    Raises:
        DocumentError: a name that is not one.
    """
    if not NAME.match(name):
        raise DocumentError(f"{name!r} is not a header name: a-z first, then a-z, 0-9 and single inner hyphens")
    pruned = prune(value)
    if pruned is not None:
        yield from _encode_value(" " * indent + name + ":", pruned, indent)


def _encode_value(intro: str, value: Header, indent: int) -> Iterator[str]:
    if isinstance(value, str):
        if "\n" in value:
            yield intro
            yield from (" " * (indent + 4) + line for line in value.split("\n"))
        else:
            yield f"{intro} {value}"
    elif isinstance(value, Mapping):
        yield intro
        for name in sorted(value):
            yield from encode_entry(name, value[name], indent + 2)
    else:
        yield intro
        for item in value:
            yield from _encode_value(" " * (indent + 2) + "-", item, indent + 2)


def prune(value: Header) -> Header | None:
    """`value` frozen and without empty lists and maps at any depth; None when nothing is left."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        entries = {name: kept for name, item in value.items() if (kept := prune(item)) is not None}
        return MappingProxyType(entries) if entries else None
    return tuple(kept for item in value if (kept := prune(item)) is not None) or None


def decode_headers(text: str, *, name: str, first_line: int = 1) -> Mapping[str, Header]:
    """Read header lines. Order is not enforced, nothing is dropped.

    Raises:
        DocumentError: with `name` and the line counted from `first_line`.
    """
    return _Decoder(text.split("\n"), name, first_line).headers()


class _Decoder:
    """A cursor over the lines; every method leaves it behind what it read."""

    def __init__(self, lines: Sequence[str], name: str, first_line: int) -> None:
        self._lines, self._name, self._first_line = lines, name, first_line
        self._at = 0

    def headers(self) -> Mapping[str, Header]:
        return self._map(0, 0)

    def _error(self, reason: str) -> DocumentError:
        line = self._first_line + min(self._at, len(self._lines) - 1)
        return DocumentError(f"{self._name}:{line}: {reason}")

    def _next_has(self, prefix: str) -> bool:
        return self._at < len(self._lines) and self._lines[self._at].startswith(prefix)

    def _map(self, indent: int, depth: int) -> Mapping[str, Header]:
        """The entries at `indent`, at least one."""
        entries: dict[str, Header] = {}
        prefix = " " * indent
        while self._next_has(prefix) or not entries:
            name, colon, rest = self._lines[self._at][indent:].partition(":")
            if not colon:
                raise self._error(f"a header needs a colon after its name: {self._lines[self._at]!r}")
            if not NAME.match(name):
                raise self._error(f"{name!r} is not a header name: a-z first, then a-z, 0-9 and single inner hyphens")
            if name in entries:
                raise self._error(f"header {name!r} is repeated")
            entries[name] = self._value(rest, indent, depth)
        return MappingProxyType(entries)

    def _value(self, rest: str, indent: int, depth: int) -> Header:
        """What follows the colon or dash on the cursor's line, and the lines nested under it."""
        if rest:
            if rest[0] != " ":
                raise self._error(f"a space or the end of the line must come before the value, not {rest[0]!r}")
            self._at += 1
            return rest[1:]
        if depth == MAX_NESTING:
            raise self._error(f"nested deeper than {MAX_NESTING} levels")
        self._at += 1
        if self._next_has(" " * (indent + 4)):
            return "\n".join(self._block(" " * (indent + 4)))
        if self._next_has(" " * (indent + 2) + "-"):
            return self._list(indent + 2, depth + 1)
        if self._next_has(" " * (indent + 2)):
            return self._map(indent + 2, depth + 1)
        raise self._error(f"a value indented by {indent + 2} or {indent + 4} spaces must follow")

    def _block(self, prefix: str) -> Iterator[str]:
        while self._next_has(prefix):
            self._at += 1
            yield self._lines[self._at - 1][len(prefix):]

    def _list(self, indent: int, depth: int) -> tuple[Header, ...]:
        items: list[Header] = []
        prefix = " " * indent + "-"
        while self._next_has(prefix):
            items.append(self._value(self._lines[self._at][len(prefix):], indent, depth))
        return tuple(items)
