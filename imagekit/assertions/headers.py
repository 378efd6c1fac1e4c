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

from imagekit.assertions.rulebook import AssertionRules
from imagekit.errors import DocumentError
from imagekit.rules import Rule
from imagekit.schema import DocumentProblems, Path, Problem

Header: TypeAlias = "str | tuple[Header, ...] | Mapping[str, Header]"

MAX_NESTING = 64
NAME = re.compile(r"[a-z](?:-?[a-z0-9])*\Z")
NAME_WORDS = "a-z first, then a-z, 0-9 and single inner hyphens"
LONGEST_SHOWN = 60


def encode_entry(name: str, value: Header, indent: int = 0) -> Iterator[str]:
    """The lines of one header; none for an empty list or map.

    Raises:
        DocumentError: a name that is not one.
    """
    if not NAME.match(name):
        raise DocumentError(f"{name!r} is not a header name: {NAME_WORDS}")
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


def shown(value: Header | None) -> str:
    """What came, for a message: short, on one line, nothing in it that moves a cursor."""
    if isinstance(value, str):
        return repr(value) if len(value) <= LONGEST_SHOWN else repr(value[:LONGEST_SHOWN]) + "..."
    return "nothing" if value is None else "a map" if isinstance(value, Mapping) else "a list"


def unlike(value: Header | None, what: str) -> str:
    """That a header is not `what` is expected of it."""
    if value is None or value == "":
        return f"{'missing' if value is None else 'empty'}, expected {what}"
    return f"{shown(value)} is not {what}"


def prune(value: Header) -> Header | None:
    """`value` frozen and without empty lists and maps at any depth; None when nothing is left."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        entries = {name: kept for name, item in value.items() if (kept := prune(item)) is not None}
        return MappingProxyType(entries) if entries else None
    return tuple(kept for item in value if (kept := prune(item)) is not None) or None


def decode_headers(text: str, *, name: str, first_line: int = 1,
                   lines: dict[Path, int] | None = None) -> Mapping[str, Header]:
    """Read header lines. Order is not enforced, nothing is dropped. `lines` takes the line of every header, if given.

    Raises:
        DocumentProblems: with `name` and the line counted from `first_line`.
    """
    return _Decoder(text.split("\n"), name, first_line, lines).headers()


class _Decoder:
    """A cursor over the lines; every method leaves it behind what it read. `_path` is where it is."""

    def __init__(self, lines: Sequence[str], name: str, first_line: int, places: dict[Path, int] | None) -> None:
        self._lines, self._name, self._first_line, self._places = lines, name, first_line, places
        self._at = 0
        self._path: list[str | int] = []

    def headers(self) -> Mapping[str, Header]:
        return self._map(0, 0)

    def _error(self, reason: str, rule: Rule) -> DocumentProblems:
        line = self._first_line + min(self._at, len(self._lines) - 1)
        problem = Problem(name=self._name, line=line, path=tuple(self._path) or ("headers",), text=reason, rule=rule)
        return DocumentProblems(self._name, (problem,))

    def _next_has(self, prefix: str) -> bool:
        return self._at < len(self._lines) and self._lines[self._at].startswith(prefix)

    def _map(self, indent: int, depth: int) -> Mapping[str, Header]:
        """The entries at `indent`, at least one."""
        entries: dict[str, Header] = {}
        prefix = " " * indent
        while self._next_has(prefix) or not entries:
            line = self._lines[self._at]
            name, colon, rest = line[indent:].partition(":")
            if not colon:
                raise self._error(f"{shown(line)} has no colon after a name", AssertionRules.COLON)
            if not NAME.match(name):
                raise self._error(f"{shown(name)} is not a header name: {NAME_WORDS}", AssertionRules.NAME)
            self._enter(name)
            if name in entries:
                raise self._error("stands twice, once is allowed", AssertionRules.REPEATED)
            entries[name] = self._value(rest, indent, depth)
            self._path.pop()
        return MappingProxyType(entries)

    def _enter(self, part: str | int) -> None:
        self._path.append(part)
        if self._places is not None:
            self._places[tuple(self._path)] = self._first_line + self._at

    def _value(self, rest: str, indent: int, depth: int) -> Header:
        """What follows the colon or dash on the cursor's line, and the lines nested under it."""
        if rest:
            if rest[0] != " ":
                raise self._error(f"{shown(rest[0])} comes before the value, a space or the end of the line is allowed",
                                  AssertionRules.SPACE)
            self._at += 1
            return rest[1:]
        if depth == MAX_NESTING:
            del self._path[1:]  # the rest would say nothing
            raise self._error(f"nested deeper than {MAX_NESTING} levels", AssertionRules.DEPTH)
        self._at += 1
        if self._next_has(" " * (indent + 4)):
            return "\n".join(self._block(" " * (indent + 4)))
        if self._next_has(" " * (indent + 2) + "-"):
            return self._list(indent + 2, depth + 1)
        if self._next_has(" " * (indent + 2)):
            return self._map(indent + 2, depth + 1)
        raise self._error(f"no value follows, expected one indented by {indent + 2} or {indent + 4} spaces",
                          AssertionRules.NESTED)

    def _block(self, prefix: str) -> Iterator[str]:
        while self._next_has(prefix):
            self._at += 1
            yield self._lines[self._at - 1][len(prefix):]

    def _list(self, indent: int, depth: int) -> tuple[Header, ...]:
        items: list[Header] = []
        prefix = " " * indent + "-"
        while self._next_has(prefix):
            self._enter(len(items))
            items.append(self._value(self._lines[self._at][len(prefix):], indent, depth))
            self._path.pop()
        return tuple(items)
