"""YAML and JSON documents at the border: read safely, keep the place of everything, check the shape.

A `Source` is a loaded document that knows the line of each of its nodes, so that every later complaint can say
`FILE:LINE: where.it.is: what came, what is allowed`. Shape is JSON Schema (draft 2020-12); meaning is checked by the
constructor that turns the source into a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from imagekit.errors import DocumentError
from imagekit.rules import Rule

Path = tuple[str | int, ...]

MAX_DOCUMENT = 1 << 20
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document's plain value (dict, list, str, int, float, bool, None) with the line of every node."""

    name: str
    value: Any
    lines: dict[Path, int] = field(repr=False)

    def where(self, path: Path) -> str:
        """`FILE:LINE: a.b[2].c` for the node at `path`."""
        return f"{self.name}:{self.line(path)}: {dotted(path)}"

    def line(self, path: Path) -> int:
        """The line of the node at `path`, or of its nearest parent that has one."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 1)


def dotted(path: Path) -> str:
    """`volumes.pc.structure[2].size`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, or will hurt, in a document."""

    name: str  # of the document
    line: int
    path: Path
    text: str
    rule: Rule | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.line}: {dotted(self.path)}: {self.text}"


class DocumentProblems(DocumentError):
    """A document that breaks rules of its format: all of `problems`, at least one."""

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        lines = tuple(map(str, problems))
        if len(lines) == 1:
            super().__init__(lines[0])
        else:
            super().__init__(f"cannot use {name}: {len(lines)} problems", details=lines)
        self.problems = problems


class Problems:
    """Collects all problems of one document, to be raised at once, and warnings beside them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: list[Problem] = []
        self._warnings: list[Problem] = []

    def add(self, path: Path, text: str, rule: Rule | None = None) -> None:
        self._found.append(self._problem(path, text, rule))

    def warn(self, path: Path, text: str, rule: Rule | None = None) -> None:
        """Note what the format accepts and somebody will regret."""
        self._warnings.append(self._problem(path, text, rule))

    def _problem(self, path: Path, text: str, rule: Rule | None) -> Problem:
        return Problem(name=self._source.name, line=self._source.line(path), path=path, text=text, rule=rule)

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def found(self) -> tuple[Problem, ...]:
        return tuple(self._found)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(self._warnings)

    def raise_if_any(self) -> None:
        """Raises: DocumentProblems: if there was any problem."""
        if self._found:
            raise DocumentProblems(self._source.name, tuple(self._found))


def near(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for a word that looks mistyped; nothing otherwise."""
    import difflib

    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.75)
    return f", did you mean {found[0]!r}?" if found else ""


def load_yaml(text: str | bytes, *, name: str) -> Source:
    """Read one YAML document by the safe subset: no duplicate keys, no aliases, bounded size and depth.

    Raises:
        DocumentError: not UTF-8, not YAML, too large or deep, a key repeated, an anchor used.
    """
    raw = text.encode("utf-8") if isinstance(text, str) else text
    if len(raw) > MAX_DOCUMENT:
        raise DocumentError(f"cannot read {name}: {len(raw)} bytes, at most {MAX_DOCUMENT} are allowed")
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"cannot read {name}: not UTF-8 at byte {error.start}") from error
    loader = yaml.SafeLoader(decoded)
    try:
        _refuse_depth(decoded, name)
        node = loader.get_single_node()
        lines: dict[Path, int] = {(): 1}
        if node is None:
            return Source(name=name, value=None, lines=lines)
        value = _build(loader, node, (), lines, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise DocumentError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(f"cannot read {name}: not valid YAML: {error}") from error
    finally:
        loader.dispose()
    return Source(name=name, value=value, lines=lines)


def _refuse_depth(text: str, name: str) -> None:
    """Count nesting on the event stream, before anything recursive sees the document."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise DocumentError(f"{name}:{line}: aliases are not allowed here: write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise DocumentError(f"{name}:{line}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node))
            if key in result:
                raise DocumentError(f"{name}:{key_node.start_mark.line + 1}: {dotted((*path, key))}: key repeated")
            result[key] = _build(loader, value_node, (*path, key), lines, name)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, index), lines, name) for index, item in enumerate(node.value)]
    return loader.construct_object(node)


def check_shape(source: Source, schema: dict[str, Any]) -> None:
    """Check a document against a JSON Schema.

    Raises:
        DocumentError: with every violation, each at its line.
    """
    import sys

    # A checker of IRIs, which no schema of ours asks for, would cost jsonschema's import a second where it is there.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None means: this import fails
    from jsonschema import Draft202012Validator

    problems = Problems(source)
    errors = Draft202012Validator(schema).iter_errors(source.value)
    for error in sorted(errors, key=lambda item: [str(part) for part in item.absolute_path]):
        place = tuple(error.absolute_path)
        if error.validator == "additionalProperties" and error.validator_value is False:
            known = error.schema.get("properties", {})
            for key in error.instance:
                if key not in known:
                    problems.add((*place, key), f"there is no such key{near(key, known)}")
        elif error.validator == "enum":
            allowed = ", ".join(map(str, error.validator_value))
            problems.add(place, f"{error.instance!r} is not one of {allowed}")
        else:
            problems.add(place, error.message)
    problems.raise_if_any()
