"""YAML and JSON documents at the border: read safely, keep the place of everything, check the shape.

A `Source` is a loaded document that knows the line of each of its nodes, so that every later complaint can say
`FILE:LINE: where.it.is: what came, what is allowed`. Shape is JSON Schema (draft 2020-12); meaning is checked by the
constructor that turns the source into a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from imagekit.errors import DocumentError
from imagekit.rules import Rule, YamlRules
from imagekit.yamltree import MAX_DEPTH, Fault, Path, read_tree

MAX_DOCUMENT = 1 << 20
MOST_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document's plain value (dict, list, str, int, float, bool, None) with the line of every node.

    `texts` has what each scalar that is no string was written as: `1.10` is a number to YAML and a version to a format.
    `other_keys` are the keys that are no strings to YAML (`on`, `1`); `notes` what was odd and is no reason to refuse.
    """

    name: str
    value: Any
    lines: dict[Path, int] = field(repr=False)
    texts: dict[Path, str] = field(repr=False, default_factory=dict)
    other_keys: frozenset[Path] = field(repr=False, default=frozenset())
    notes: tuple[Problem, ...] = ()

    def where(self, path: Path) -> str:
        """`FILE:LINE: a.b[2].c` for the node at `path`."""
        return f"{self.name}:{self.line(path)}: {dotted(path)}"

    def line(self, path: Path) -> int:
        """The line of the node at `path`, or of its nearest parent that has one."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 1)

    def text(self, path: Path, value: object) -> str | None:
        """The scalar `value` at `path` as it was written; None for maps, lists and nothing."""
        if value is None or isinstance(value, dict | list):
            return None
        return value if isinstance(value, str) else self.texts.get(path, str(value))


def dotted(path: Path) -> str:
    """`volumes.pc.structure[2].size`; a key that a terminal would obey is quoted and cut."""
    text = ""
    for part in path:
        if isinstance(part, str) and not (part.isprintable() and len(part) <= 200):
            part = repr(part[:200])
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
        self.source = source
        self._found: dict[Problem, None] = {}  # in order, each once
        self._warnings: list[Problem] = list(source.notes)

    def add(self, path: Path, text: str, rule: Rule | None = None) -> None:
        self._found[self._problem(path, text, rule)] = None

    def warn(self, path: Path, text: str, rule: Rule | None = None) -> None:
        """Note what the format accepts and somebody will regret."""
        self._warnings.append(self._problem(path, text, rule))

    def _problem(self, path: Path, text: str, rule: Rule | None) -> Problem:
        return Problem(name=self.source.name, line=self.source.line(path), path=path, text=text, rule=rule)

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def found(self) -> tuple[Problem, ...]:
        return tuple(self._found)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(self._warnings)

    def raise_if_any(self) -> None:
        """Raises: DocumentProblems: if there was any problem, in the order of the lines."""
        if self._found:
            raise DocumentProblems(self.source.name, tuple(sorted(self._found, key=lambda problem: problem.line)))


__all__ = ["MAX_DEPTH", "MAX_DOCUMENT", "DocumentProblems", "Path", "Problem", "Problems", "Source", "check_shape",
           "dotted", "load_yaml", "near"]


def near(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for a word that looks mistyped; nothing otherwise."""
    import difflib

    ordered = sorted(known)
    found = difflib.get_close_matches(word, ordered, n=1, cutoff=0.75) or [
        item for item in ordered if item.lower() == word.lower()]
    return f", did you mean {found[0]!r}?" if found else ""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `json.loads(object_pairs_hook=...)`. Raises: ValueError: a key stands in it twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"key repeated: {', '.join(map(repr, repeated))}")
    return found


def load_yaml(text: str | bytes, *, name: str, repeated_keys: bool = False) -> Source:
    """Read one YAML document, bounded in size, depth and aliases (`imagekit.yamltree`).

    With `repeated_keys` the last of several equal keys counts, and the source notes it: so do the field's readers with
    the field's documents. In ours such a key is refused.

    Raises:
        DocumentProblems: not UTF-8, not YAML, too large or deep, a key repeated.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_DOCUMENT:
        raise _refused(name, 1, (), f"more than {MAX_DOCUMENT} bytes came, no more are allowed", YamlRules.SIZE)
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(name, raw.count(b"\n", 0, error.start) + 1, (),
                       f"the byte {raw[error.start]:#04x} at {error.start} is not UTF-8", YamlRules.UTF8) from error
    try:
        tree = read_tree(decoded.removeprefix("\ufeff"))
    except Fault as fault:
        raise _refused(name, fault.line, fault.path, fault.text, fault.rule) from fault
    repeated = tuple(Problem(name=name, line=line, path=path, rule=YamlRules.REPEATED_LAST,
                             text="this key stands in its map already, the last one counts")
                     for path, line in tree.repeated)
    if repeated and not repeated_keys:
        raise DocumentProblems(name, tuple(replace(item, text="key repeated", rule=YamlRules.REPEATED)
                                           for item in repeated))
    overridden = tuple(Problem(name=name, line=line, path=path, rule=YamlRules.MERGE_LATE,
                               text="the merge on this line changes this key: put << first")
                       for path, line in tree.overridden)
    return Source(name=name, value=tree.value, lines=tree.lines, texts=tree.texts, other_keys=tree.other_keys,
                  notes=repeated + overridden)


def _refused(name: str, line: int, path: Path, text: str, rule: Rule) -> DocumentProblems:
    return DocumentProblems(name, (Problem(name=name, line=line, path=path, text=text, rule=rule),))


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
        elif error.validator == "type" and error.instance is None and not place:
            problems.add(place, "it is empty")
        elif error.validator == "oneOf" and all(set(branch) == {"required"} for branch in error.validator_value):
            keys = ", ".join(key for branch in error.validator_value for key in branch["required"])
            problems.add(place, f"exactly one of these keys is needed: {keys}")
        elif error.validator == "enum":
            allowed = ", ".join(map(str, error.validator_value))
            problems.add(place, f"{_shown(error.instance)} is not one of {allowed}")
        elif error.validator in ("maxLength", "maxItems"):
            problems.add(place, f"{_shown(error.instance)} has {len(error.instance)} {_PARTS[error.validator]},"
                                f" {error.validator_value} are allowed")
        else:
            problems.add(place, error.message.replace(repr(error.instance), _shown(error.instance), 1))
    problems.raise_if_any()


_PARTS = {"maxLength": "characters", "maxItems": "items"}


def _shown(value: object) -> str:
    """Enough of a value to find it. Not all of it: somebody may have named the file of a private key."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN - 3]}..."
