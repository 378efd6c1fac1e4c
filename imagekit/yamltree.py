"""YAML text to a plain value, in one pass over the parser's events, with the line of everything.

Bounded whatever comes: size, control characters, depth, and the number of values with every alias written out are
checked before anything is built from them. Plain scalars mean what YAML 1.1 says, as the field's reader (go-yaml v2)
resolves them, without base 60; what a plain number or boolean was written as is kept, since where a string is
wanted that reader takes the text. Merge keys (`<<`) and repeated keys take effect in their order, as it does;
which of them are welcome is for the caller to say.

Sources: YAML 1.1; the types of yaml.org/type (merge, bool, int, float, null).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from imagekit.rules import Rule, YamlRules

Path = tuple[str | int, ...]

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_TEXT = 4 << 20  # characters, with every alias written out

_CORE = "tag:yaml.org,2002:"
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?(0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", re.ASCII)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is there with every published wheel


class Fault(Exception):
    """The text cannot be read: one place, what is wrong there, the rule."""

    def __init__(self, line: int, path: Path, text: str, rule: Rule) -> None:
        super().__init__(text)
        self.line, self.path, self.text, self.rule = line, path, text, rule


@dataclass(slots=True)
class Scalar:
    """A leaf: its value, and the text that stands in the document."""

    line: int
    value: Any
    text: str
    plain: bool


@dataclass(slots=True)
class Collection:
    """A map (`keys` beside `items`) or a list (`keys` is None), as written: aliases not yet followed."""

    line: int
    keys: list[Scalar] | None
    items: list[Scalar | Collection] = field(default_factory=list)
    key: Scalar | None = None  # of the item that comes next
    open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A document's value; by path the line of each node, and the text of each scalar that is no string.

    `other_keys`: the paths of keys that are no strings (`on`, `1`). `repeated`: the paths of keys that stand more than
    once in their map, the later line with each. `overridden`: keys that a merge behind them changed.
    """

    value: Any
    lines: dict[Path, int]
    texts: dict[Path, str]
    other_keys: frozenset[Path] = frozenset()
    repeated: tuple[tuple[Path, int], ...] = ()
    overridden: tuple[tuple[Path, int], ...] = ()


def read_tree(text: str, *, loader: Any = LOADER) -> Tree:
    """Read one document by the parser of `loader`, whose events are all that is asked of it.

    Raises:
        Fault: the first thing that cannot be read.
    """
    control = _CONTROL.search(text)
    if control is not None:
        raise Fault(text.count("\n", 0, control.start()) + 1, (),
                    f"the control character U+{ord(control[0]):04X} came, only tabs and line ends are allowed",
                    YamlRules.CHARACTER)
    try:
        top = _Composer().compose(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise Fault(line, (), _explained(error, text, line), YamlRules.SYNTAX) from error
    except yaml.YAMLError as error:
        raise Fault(1, (), f"not valid YAML: {error}", YamlRules.SYNTAX) from error
    if top is None:
        return Tree(value=None, lines={(): 1}, texts={})
    return _Expansion().expanded(top)


class _Composer:
    """Events to a tree in which an alias is the anchor's own node."""

    def __init__(self) -> None:
        self._anchors: dict[str, Scalar | Collection] = {}
        self._stack: list[Collection] = []
        self._top: Scalar | Collection | None = None
        self._count = 0

    def compose(self, text: str, loader: Any) -> Scalar | Collection | None:
        documents = 0
        event: Any  # of a type that its class says, which mypy is not told by `is`
        for event in yaml.parse(text, Loader=loader):
            kind = type(event)
            line = event.start_mark.line + 1
            if kind is yaml.ScalarEvent:
                self._place(self._scalar(event, line), event.anchor, line)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                found = self._collection(event, line, is_map=kind is yaml.MappingStartEvent)
                self._place(found, event.anchor, line)
                self._stack.append(found)
                if len(self._stack) > MAX_DEPTH:
                    raise Fault(line, self._path()[:4], f"maps and lists are nested deeper than {MAX_DEPTH}",
                                YamlRules.DEPTH)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._stack.pop().open = False
            elif kind is yaml.AliasEvent:
                self._place(self._aliased(event.anchor, line), None, line)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise Fault(line, (), "a second document begins here, one is allowed: what follows '---' would be"
                                " passed over", YamlRules.SYNTAX)
        return self._top

    def _path(self) -> Path:
        """Where the composer is."""
        path: list[str | int] = []
        for depth, collection in enumerate(self._stack, start=1):
            inside = depth < len(self._stack)  # of the item that was placed last
            if collection.keys is None:
                path.append(len(collection.items) - inside)
            elif inside:
                path.append(collection.keys[-1].text)
            elif collection.key is not None:
                path.append(collection.key.text)
        return tuple(path)

    def _aliased(self, anchor: str, line: int) -> Scalar | Collection:
        node = self._anchors.get(anchor)
        if node is None:
            raise Fault(line, self._path(), f"the alias *{anchor} came, but no anchor &{anchor} stands above it",
                        YamlRules.ALIAS)
        if isinstance(node, Collection) and node.open:
            raise Fault(line, self._path(), f"the alias *{anchor} came inside of what it stands for (line {node.line})",
                        YamlRules.ALIAS)
        return node

    def _place(self, node: Scalar | Collection, anchor: str | None, line: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise _too_many(line, self._path())
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self._top = node
            return
        parent = self._stack[-1]
        if parent.keys is None:
            parent.items.append(node)
        elif parent.key is None:
            if not isinstance(node, Scalar):
                raise Fault(line, self._path(), "a map or a list came as a key, a word is allowed", YamlRules.KEY)
            # An alias as a key is read where it stands, not where its anchor does.
            parent.key = Scalar(line, node.value, "" if node.value is None else node.text, node.plain)
        else:
            parent.keys.append(parent.key)
            parent.items.append(node)
            parent.key = None

    def _collection(self, event: Any, line: int, *, is_map: bool) -> Collection:
        if event.tag not in (None, "!", _CORE + ("map" if is_map else "seq")):
            raise Fault(line, self._path(), f"the tag {_short(event.tag)} came on a {'map' if is_map else 'list'},"
                        " none is needed", YamlRules.TAG)
        return Collection(line, [] if is_map else None)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        text, tag = event.value, event.tag
        if tag is None:
            plain = event.implicit[0]
            return Scalar(line, resolve(text) if plain else text, text, plain)
        value = _tagged(tag, text)
        if value is _UNFIT:
            raise Fault(line, self._path(), f"{text!r} came with the tag {_short(tag)}, allowed are YAML's own tags on"
                        " values that fit them", YamlRules.TAG)
        return Scalar(line, value, value if isinstance(value, str) else text, tag == _CORE + "merge")


class _Expansion:
    """The tree to plain values: aliases written out, merges done, lines noted."""

    def __init__(self) -> None:
        self._left = MAX_NODES
        self._text_left = MAX_TEXT
        self._lines: dict[Path, int] = {}
        self._texts: dict[Path, str] = {}
        self._other_keys: set[Path] = set()
        self._repeated: list[tuple[Path, int]] = []
        self._overridden: list[tuple[Path, int]] = []

    def expanded(self, top: Scalar | Collection) -> Tree:
        value = self._value(top, ())
        return Tree(value=value, lines=self._lines, texts=self._texts, other_keys=frozenset(self._other_keys),
                    repeated=tuple(self._repeated), overridden=tuple(self._overridden))

    def _take(self, node: Scalar | Collection, path: Path) -> None:
        """Count one node and its text."""
        self._left -= 1
        if isinstance(node, Scalar):
            self._text_left -= len(node.text)
        if self._left < 0 or self._text_left < 0:
            raise _too_many(node.line, path)

    def _value(self, node: Scalar | Collection, path: Path) -> Any:
        self._take(node, path)
        self._lines.setdefault(path, node.line)
        if isinstance(node, Scalar):
            if isinstance(node.value, str):
                self._texts.pop(path, None)
            else:
                self._texts[path] = node.text
            return node.value
        if len(path) >= MAX_DEPTH:
            raise Fault(node.line, path[:4], f"maps and lists are nested deeper than {MAX_DEPTH}", YamlRules.DEPTH)
        if node.keys is None:
            return [self._value(item, (*path, index)) for index, item in enumerate(node.items)]
        result: dict[str, Any] = {}
        self._fill(result, node, path, explicit=set())
        return result

    def _fill(self, result: dict[str, Any], node: Collection, path: Path, *, explicit: set[str] | None) -> None:
        """Put a map's entries into `result`; those of a merged map (`explicit` is None) over what is there."""
        assert node.keys is not None
        for key, item in zip(node.keys, node.items, strict=True):
            if key.plain and key.text == "<<":
                for source in _merged(key, item, path):
                    self._take(key, path)
                    before = dict(result) if explicit else result
                    self._fill(result, source, path, explicit=None)
                    self._overridden += [((*path, name), key.line) for name in sorted(explicit or ())
                                         if before[name] != result[name]]
                continue
            where = (*path, key.text)
            self._take(key, where)
            if explicit is not None and key.text in explicit:
                self._repeated.append((where, key.line))
            elif explicit is not None:
                explicit.add(key.text)
            self._lines[where] = key.line
            if not isinstance(key.value, str):
                self._other_keys.add(where)
            result[key.text] = self._value(item, where)


def _merged(key: Scalar, item: Scalar | Collection, path: Path) -> Iterator[Collection]:
    """The maps of a merge, the one that counts most last."""
    sources = item.items if isinstance(item, Collection) and item.keys is None else [item]
    for source in reversed(sources):
        if not isinstance(source, Collection) or source.keys is None:
            raise Fault(key.line, (*path, "<<"), "a merge takes a map, or a list of maps, as in <<: *name",
                        YamlRules.MERGE)
        yield source


def _too_many(line: int, path: Path) -> Fault:
    return Fault(line, path, f"with its aliases written out the document has more than {MAX_NODES} keys and values, or"
                 f" {MAX_TEXT >> 20} MiB of them", YamlRules.NODES)


def resolve(text: str) -> Any:
    """What a plain scalar means: None, a boolean, an integer, a float, or the text itself."""
    if not text or text[0] in "+-.0123456789yYnNtTfFoO~":
        if text in _WORDS:
            return _WORDS[text]
        digits = text.replace("_", "")
        if _INTEGER.match(digits):
            return _integer(digits)
        if _FLOAT.match(digits):
            return float(digits)
    return text


def _integer(digits: str) -> int | float | str:
    sign, body = (-1, digits[1:]) if digits[0] == "-" else (1, digits.lstrip("+"))
    base = {"0x": 16, "0b": 2, "0o": 8}.get(body[:2], 8 if body[0] == "0" and len(body) > 1 else 10)
    if len(body) > 300:
        return digits  # no integer of anybody's
    number = sign * int(body.removeprefix("0o") if body[:2] == "0o" else body, base)
    return number if -(1 << 63) <= number < 1 << 64 else float(number)


_UNFIT = object()


def _tagged(tag: str, text: str) -> Any:
    """The value of a scalar with a tag of its own; `_UNFIT` if there is none."""
    kind = tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag
    if kind in ("!", "str", "timestamp", "merge"):
        return text
    if kind == "binary":
        try:
            return base64.b64decode(text.encode()).decode()
        except (binascii.Error, ValueError):
            return _UNFIT
    value = resolve(text)
    fits = {"null": value is None, "bool": isinstance(value, bool), "float": isinstance(value, int | float),
            "int": isinstance(value, int) and not isinstance(value, bool)}
    return value if fits.get(kind) else _UNFIT


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag


_EXPLAINED = (  # a piece of the parser's words -> ours
    ("mapping values are not allowed", "a second ': ' on one line, or a line that is indented too deep: put a value"
     " that holds ': ' in quotes"),
    ("expected key", "this line is indented unlike those beside it, or a quote or bracket above it is still open"),
    ("<block end>", "this line is indented unlike those beside it, or a quote or bracket above it is still open"),
    ("'-' indicator", "this line is indented unlike the items beside it"),
    ("could not find expected ':'", "a key without ': ' behind it"),
    ("unexpected end of stream", "a quote is opened and never closed"),
    ("',' or ']'", "a list in [ ] that is not closed, or has no comma between two items"),
    ("',' or '}'", "a map in { } that is not closed, or has no comma between two entries"),
    ("<document start>", "text behind the end of the document"),
    ("unknown escape character", "a backslash in double quotes that escapes nothing: use single quotes"),
)


def _explained(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    """The parser's complaint in words that help."""
    said = str(error.problem or error.context)
    row = (text.split("\n", line)[line - 1:line] or [""])[0]
    if "\t" in row[:len(row) - len(row.lstrip())]:
        return "not valid YAML: a tab came, lines are indented with spaces"
    if "cannot start any token" in said:
        return "not valid YAML: a value begins with @, `, % or a tab: put it in quotes"
    for piece, words in _EXPLAINED:
        if piece in said:
            return f"not valid YAML: {words}"
    return f"not valid YAML: {said}"
