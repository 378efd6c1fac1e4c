"""Typed access to the nodes of a YAML document that notes every problem and goes on.

A parser asks a `Node` for its fields; a value of the wrong type is noted with file, line and path, and the caller gets
the default, so that one run tells all that is wrong. (A JSON Schema would stop between shape and meaning, and importing
its validator costs more than a whole build of an image does besides hashing: up to a second where its format checkers
are installed.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imagekit.errors import DocumentError
from imagekit.rules import Rule, YamlRules
from imagekit.schema import Path, Problems, near
from imagekit.units import parse_size

MAX_SIZE = 1 << 63
MAX_DIGITS = 100
SHOWN = 80  # characters of a value in a message


class Node:
    """A mapping of the document, its path, and the list where its problems go."""

    def __init__(self, problems: Problems, path: Path, value: Any) -> None:
        self.problems = problems
        self.path = path
        self._value: dict[str, Any] = value if isinstance(value, dict) else {}
        self.empty = value is None
        self.readable = self.empty or isinstance(value, dict)
        if not self.readable:
            problems.add(path, f"a map is needed, not {kind(value)}", YamlRules.MAP)

    def __contains__(self, key: str) -> bool:
        return self._value.get(key) is not None

    def names(self) -> tuple[str, ...]:
        return tuple(self._value)

    def raw(self, key: str) -> Any:
        return self._value.get(key)

    def problem(self, key: str | None, text: str, rule: Rule | None = None) -> None:
        """Note a problem of the field `key`, or of the map itself; of what is no map, that is all there is to say."""
        if self.readable:
            self.problems.add((*self.path, key) if key is not None and key in self._value else self.path, text, rule)

    def map(self, key: str) -> Node:
        """The map under `key`; an empty one if it is absent."""
        return Node(self.problems, (*self.path, key), self._value.get(key))

    def maps(self, key: str) -> Iterator[tuple[str, Node]]:
        """Every entry of the map of maps under `key`."""
        outer = self.map(key)
        for name in outer.names():
            yield name, outer.map(name)

    def items(self, key: str) -> list[Any]:
        """The items of the list under `key`."""
        value = self._value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problem(key, f"a list is needed, not {kind(value)}", YamlRules.LIST)
            return []
        return value

    def nodes(self, key: str) -> list[Node]:
        """The items of a list of maps."""
        return [Node(self.problems, (*self.path, key, index), item) for index, item in enumerate(self.items(key))]

    def text(self, key: str, default: str = "") -> str:
        """Any scalar as it was written: what the field's YAML reader puts into a string."""
        path, value = (*self.path, key), self._value.get(key)
        found = self.problems.source.text(path, value)
        if found is None and value is not None:
            self.problem(key, f"a string is needed, not {kind(value)}", YamlRules.STRING)
        return default if found is None else found

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of scalars as they were written; nothing counts as an empty string."""
        result = []
        for index, item in enumerate(self.items(key)):
            path = (*self.path, key, index)
            found = self.problems.source.text(path, item)
            if found is None and item is not None:
                self.problems.add(path, f"a string is needed, not {kind(item)}", YamlRules.STRING)
            result.append(found or "")
        return tuple(result)

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; numbers count as the text they were written as."""
        result = []
        for index, item in enumerate(self.items(key)):
            text = self.problems.source.text((*self.path, key, index), item)
            if text is not None and not isinstance(item, bool):
                result.append(text)
            else:
                self.problems.add((*self.path, key, index), f"a string is needed, not {kind(item)}", YamlRules.STRING)
        return tuple(result)

    def string(self, key: str, default: str = "") -> str:
        """A string; a number counts as the text it was written as, a boolean does not."""
        value = self._value.get(key)
        if isinstance(value, bool):
            self.problem(key, f"a string is needed, not {kind(value)}", YamlRules.STRING)
            return default
        return self.text(key, default)

    def boolean(self, key: str) -> bool:
        value = self._value.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            self.problem(key, f"true or false is needed, not {kind(value)}", YamlRules.BOOLEAN)
            return False
        return value

    def size(self, key: str) -> int | None:
        """A size or offset in bytes."""
        if self._value.get(key) is None:
            return None
        text = self.text(key, "")
        if not text and self.raw(key) != "":
            return None
        try:
            size = parse_size(text, where=key) if len(text) < MAX_DIGITS else MAX_SIZE
        except DocumentError:
            self.problem(key, f"{shown(text)} is not a size: {_size_hint(text)}", YamlRules.QUANTITY)
            return None
        if size >= MAX_SIZE:
            self.problem(key, f"{shown(text)} is too large: below 2^63 bytes are allowed", YamlRules.QUANTITY)
            return None
        return size

    def choice(self, key: str, allowed: dict[str, Any], what: str, rule: Rule | None = None) -> Any:
        """The value that `allowed` has for the text under `key`; None if it is absent, empty or noted as wrong."""
        text = self.text(key)
        if not text:
            return None  # the field's readers take the empty text for nothing
        if text not in allowed:
            self.problem(key, f"{shown(text)} is not a {what}: allowed are {', '.join(allowed)}{near(text, allowed)}",
                         rule)
            return None
        return allowed[text]

    def word(self, key: str, allowed: dict[str, Any], what: str, rule: Rule, *, empty: bool = False) -> Any:
        """As `choice`, with the text as it was written; `empty`: an empty text counts as left out."""
        text = self.text(key)
        if key not in self or (empty and not text) or isinstance(self.raw(key), dict | list):
            return None
        if text not in allowed:
            self.problem(key, f"{text!r} is no {what}: allowed are {', '.join(allowed)}", rule)
            return None
        return allowed[text]

    def only(self, *allowed: str, what: str, rule: Rule | None = None) -> None:
        """Note every field that is present but not among `allowed`."""
        for key in self._value:
            if key not in allowed:
                self.problem(key, f"not allowed {what}", rule)


def kind(value: object) -> str:
    """The YAML name of a value's type."""
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {dict: "a map", list: "a list", str: "a string", int: "an integer", float: "a number"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


def shown(text: str) -> str:
    """A text in quotes for a message, cut where it is long."""
    return repr(text) if len(text) <= SHOWN else repr(text[:SHOWN]) + "..."


def _size_hint(text: str) -> str:
    """What is allowed, and what was probably meant."""
    allowed = "an integer of bytes is allowed, or one with M (2^20) or G (2^30)"
    number, unit = text[:-1], text[-1:]
    if text.startswith("-"):
        return f"it is below 0, {allowed}"
    if number.isdecimal() and unit in "kK":
        return f"{allowed}; write {int(number[:20]) * 1024}"
    for suffix in ("iB", "ib", "B", "b"):
        if text.removesuffix(suffix)[:-1].isdecimal() and text.removesuffix(suffix)[-1:] in ("M", "G"):
            return f"{allowed}; write {text.removesuffix(suffix)}"
    if number.isdecimal() and unit in "mg":
        return f"{allowed}; write {number}{unit.upper()}"
    return allowed
