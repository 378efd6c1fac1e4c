"""What people write to be signed: headers in YAML or JSON, turned into an assertion's.

Texts are the only scalars of an assertion, so that what is signed is what stands in the file: `16` is the text 16,
`true` the text true, a time its text as written. What YAML would read differently than people do (fractions, octal and
sexagesimal numbers, `yes`) must be put in quotes. Nulls are left out; `body` is the body. Every complaint names the
line of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from imagekit.assertions.completion import fill_in, typos
from imagekit.assertions.headers import NAME, NAME_WORDS, Header, shown
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.model import RESERVED
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.signing import draft
from imagekit.assertions.wire import TYPES, Assertion
from imagekit.errors import DocumentError
from imagekit.keys import PublicKey
from imagekit.rules import YamlRules
from imagekit.schema import (
    MAX_DEPTH,
    MAX_DOCUMENT,
    DocumentProblems,
    Path,
    Problem,
    Problems,
    Source,
    load_yaml,
    near,
    unique,
)

SET_BY_SIGNING = ("sign-key-sha3-384", "body-length")
_PLAIN_NUMBER = re.compile(r"(?:0|-?[1-9][0-9]*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Headers and body as a person wrote them."""

    source: Source
    headers: Mapping[str, Header]
    body: bytes

    @property
    def type(self) -> str:
        return str(self.headers.get("type"))


def parse_draft(raw: bytes, *, name: str) -> Draft:
    """Read a draft; a `name` that ends in `.json` is JSON, all else YAML.

    Raises:
        DocumentError: with all problems, each at its line.
    """
    source, value = _load_json(raw, name) if name.endswith(".json") else _load_yaml(raw, name)
    problems = Problems(source)
    if not isinstance(value, dict):
        problems.add((), "a map of headers is expected", AssertionRules.DRAFT_MAP)
        problems.raise_if_any()
    headers = _header(value, (), problems)
    assert isinstance(headers, Mapping)
    for header in SET_BY_SIGNING:
        if header in headers:
            problems.add((header,), "is set by signing, leave it out", AssertionRules.DRAFT_SET)
    body = headers.get("body", "")
    if not isinstance(body, str):
        problems.add(("body",), f"{shown(body)} is not a text", AssertionRules.DRAFT_BODY)
    kind = headers.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        problems.add(("type",) if "type" in headers else (), draft_type_problem(kind), AssertionRules.TYPE)
    problems.raise_if_any()
    return Draft(source=source, headers={key: item for key, item in headers.items() if key != "body"},
                 body=str(body).encode())


def draft_type_problem(kind: Header | None) -> str:
    """What is wrong with a type that is none."""
    if kind is None:
        return "header 'type' is missing, as in `type: model`"
    meant = near(kind, KINDS) if isinstance(kind, str) else ""
    return f"{shown(kind)} is not a type of assertion{meant or TYPES}"


def complete(drafted: Draft, *, account_id: str, timestamp: datetime) -> Mapping[str, Header]:
    """The headers with what may be left out (`imagekit.assertions.completion`). What the file says wins.

    Raises:
        DocumentProblems: it names another authority, a header that building refuses, or one that is mistyped.
    """
    problems = Problems(drafted.source)
    authority = drafted.headers.get("authority-id", account_id)
    if authority != account_id:
        problems.add(("authority-id",), f"{shown(authority)} is not {account_id!r}, whose key signs",
                     AssertionRules.DRAFT_AUTHORITY)
    for header in RESERVED if drafted.type == "model" else ():
        if header in drafted.headers:
            problems.add((header,), "is a reserved header, no image is built from a model that has it",
                         AssertionRules.MODEL_RESERVED)
    for path, text in typos(drafted.type, drafted.headers):
        if path[0] not in RESERVED:
            problems.add(path, text, AssertionRules.DRAFT_TYPO)
    problems.raise_if_any()
    return fill_in(drafted.type, drafted.headers, account_id=account_id, timestamp=timestamp, body=drafted.body)


def check_draft(drafted: Draft, headers: Mapping[str, Header], *, key: PublicKey) -> Assertion:
    """Hold completed headers to the rules of their type.

    Raises:
        DocumentError: with all problems, each at its line.
    """
    try:
        return draft(headers, key=key, body=drafted.body)
    except DocumentProblems as error:
        problems = Problems(drafted.source)
        for found in error.problems:
            problems.add(found.path, found.text, found.rule)
        problems.raise_if_any()
        raise
    except DocumentError as error:
        raise DocumentError(f"{drafted.source.name}: {error.message}", hint=error.hint) from error


def _header(value: Any, path: Path, problems: Problems) -> Header | None:
    """The value as a header; None for null, and for what was noted as a problem."""
    if isinstance(value, dict):
        found: dict[str, Header] = {}
        for name, item in value.items():
            if not NAME.match(name):
                problems.add((*path, name), f"not a header name: {NAME_WORDS}", AssertionRules.NAME)
            elif (header := _header(item, (*path, name), problems)) is not None:
                found[name] = header
        return found
    if isinstance(value, list):
        items = (_header(item, (*path, index), problems) for index, item in enumerate(value))
        return tuple(item for item in items if item is not None)
    if isinstance(value, _Refused):
        problems.add(path, value.reason, AssertionRules.DRAFT_SCALAR)
        return None
    return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands where a scalar is that has no plain text."""

    reason: str


def _load_yaml(raw: bytes, name: str) -> tuple[Source, Any]:
    source = load_yaml(raw, name=name)  # bounds size, depth and aliases, refuses repeated keys
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser of load_yaml: no other takes all that it takes
    try:
        node = yaml.compose(raw.decode("utf-8").removeprefix("\ufeff"), Loader=loader)
    except yaml.MarkedYAMLError as error:  # an anchor that is set twice, which load_yaml takes
        mark = error.problem_mark or error.context_mark
        told = "; ".join(filter(None, (error.context, error.problem)))
        raise DocumentProblems(name, (Problem(name=name, line=mark.line + 1 if mark else 1, path=(),
                                              text=f"not valid YAML: {told}", rule=YamlRules.SYNTAX),)) from error
    return source, None if node is None else _value(node)


def _value(node: yaml.Node) -> Any:
    """Maps, lists, and scalars as the text that stands in the file."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _value(item) for key, item in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind in ("str", "timestamp") or (kind == "int" and _PLAIN_NUMBER.match(text)):
        return text
    if kind == "bool" and text in ("true", "false"):
        return text
    if kind == "null":
        return None
    return _Refused(f"{text!r} is not plain text (YAML reads it as {kind}): put it in quotes")


def _load_json(raw: bytes, name: str) -> tuple[Source, Any]:
    if len(raw) > MAX_DOCUMENT:
        raise DocumentError(f"cannot read {name}: {len(raw)} bytes, at most {MAX_DOCUMENT} are allowed")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_float=_refuse_number,
                           parse_constant=_refuse_number, parse_int=str)
    except json.JSONDecodeError as error:
        raise DocumentError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise DocumentError(f"cannot read {name}: nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise DocumentError(f"cannot read {name}: {error}") from error
    try:
        lines = load_yaml(raw, name=name).lines  # nearly all JSON is YAML too, which knows the lines
    except DocumentError:
        lines = {(): 1}
    return Source(name=name, value=value, lines=lines), _booleans(value, name)


def _refuse_number(text: str) -> _Refused:
    return _Refused(f"{text!r} is not plain text: put it in quotes")


def _booleans(value: Any, name: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise DocumentError(f"cannot read {name}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {key: _booleans(item, name, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_booleans(item, name, depth + 1) for item in value]
    return str(value).lower() if isinstance(value, bool) else value
