"""Typed access to headers that notes every problem instead of stopping at the first.

A `Fields` hands out values or harmless stand-ins; `finish` raises if anything was wrong. Each problem names its rule
and its place, which is found in the text of the assertion: `FILE:LINE: snaps[0].id: what came, what is allowed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from imagekit.assertions.headers import Header, shown, unlike
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import Assertion
from imagekit.errors import DocumentError
from imagekit.rules import Rule
from imagekit.schema import DocumentProblems, Path, Problem, near

E = TypeVar("E", bound=StrEnum)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST, MOST_SIZE = 2**63 - 1, 2**64 - 1  # what the field's programs keep in a number, and in a size


@dataclass(frozen=True, slots=True)
class Form:
    """How a text must look: a pattern, its words for people, and the rule that demands it."""

    pattern: re.Pattern[str]
    what: str
    rule: Rule

    def match(self, text: str) -> bool:
        return self.pattern.match(text) is not None


def _form(pattern: str, what: str, rule: Rule) -> Form:
    return Form(re.compile(pattern + r"\Z"), what, rule)


ACCOUNT_ID = _form(r"(?:[a-zA-Z0-9]{32}|[a-z0-9-]{2,28})",
                   "an account id: 32 letters and digits, or 2 to 28 of a-z, 0-9 and hyphen", AssertionRules.ACCOUNT_ID)
SNAP_ID = _form(r"[a-zA-Z0-9]{32}", "a snap id: 32 letters and digits", AssertionRules.SNAP_ID)
SNAP_NAME = _form(r"(?=[a-z0-9-]{2,40}\Z)(?=[0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*",
                  "a snap name: 2 to 40 of a-z, 0-9 and single inner hyphens, with a letter", AssertionRules.SNAP_NAME)
MODEL_NAME = _form(r"[a-z0-9]+(?:-[a-z0-9]+)*", "a model name: a-z, 0-9 and single inner hyphens",
                   AssertionRules.MODEL_NAME)
SET_NAME = _form(r"[a-z0-9]+(?:-[a-z0-9]+)*", "the name of a validation set: a-z, 0-9 and single inner hyphens",
                 AssertionRules.SET_NAME)
PROVENANCE = _form(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*", "a provenance: letters, digits and single inner hyphens",
                   AssertionRules.PROVENANCE)
DIGEST = _form(r"[A-Za-z0-9_-]{64}", "a digest of 64 characters: SHA3-384 in base64url", AssertionRules.DIGEST)
HEX_SHA256 = _form(r"(?:[0-9a-f]{2}){32}", "a digest of 64 hexadecimal digits: SHA-256", AssertionRules.DIGEST)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
                   r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z")


def parse_time(text: str) -> datetime:
    """RFC 3339 with a time zone, as UTC. Raises: ValueError: anything else."""
    if not _TIME.match(text):
        raise ValueError(f"{shown(text)} is not a time of RFC 3339, as in 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown(text)} is not a time: {error}") from error


def format_time(when: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_type(assertion: Assertion, kind: str) -> Fields:
    """The headers of an assertion of type `kind`. Raises: DocumentError: it is of another."""
    if assertion.type != kind:
        raise DocumentError(f"cannot use {assertion.label}: expected {kind}")
    return Fields(assertion.headers, assertion=assertion)


class Fields:
    """The headers of an assertion, or of a map inside it."""

    def __init__(self, headers: Mapping[str, Header], *, assertion: Assertion, path: Path = (),
                 found: list[tuple[Path, str, Rule]] | None = None) -> None:
        self.headers = headers
        self.path = path
        self._assertion = assertion
        self._found: list[tuple[Path, str, Rule]] = [] if found is None else found

    def __contains__(self, name: str) -> bool:
        return name in self.headers

    def problem(self, text: str, *path: str | int, rule: Rule) -> None:
        self._found.append(((*self.path, *path), text, rule))

    def finish(self) -> None:
        """Raises: DocumentProblems: if there was any problem."""
        if self._found:
            source = self._assertion.source()
            problems = (Problem(name=source.name, line=source.line(path), path=path, text=text, rule=rule)
                        for path, text, rule in self._found)
            raise DocumentProblems(source.name, tuple(sorted(problems, key=lambda problem: problem.line)))

    def inner(self, headers: Mapping[str, Header], *path: str | int) -> Fields:
        """A map below this one, whose problems are told along."""
        return Fields(headers, assertion=self._assertion, path=(*self.path, *path), found=self._found)

    def text(self, name: str, *, form: Form | None = None) -> str:
        """A text that is demanded, and not empty."""
        if name not in self.headers:
            self.problem(unlike(None, form.what if form else "a text"), name, rule=AssertionRules.MISSING)
            return ""
        return self.optional(name, form=form, empty=False)

    def optional(self, name: str, *, default: str = "", form: Form | None = None, empty: bool = True) -> str:
        """A text that may be left out; where it is empty it counts as left out, unless that is forbidden."""
        value = self.headers.get(name)
        if value is None or (value == "" and empty and form is None):
            return default
        if not isinstance(value, str) or (not value and not empty and form is None):
            self.problem(unlike(value, form.what if form else "a text"), name, rule=AssertionRules.TEXT)
        elif form and not form.match(value):
            self.problem(f"{shown(value)} is not {form.what}", name, rule=form.rule)
        else:
            return value
        return default

    def choice(self, name: str, kinds: type[E], *, default: E, rule: Rule) -> E:
        """One of the words of `kinds`; left out or empty it is the default. `unset` is a word of ours alone."""
        text = self.optional(name, default=default.value)
        words = [kind.value for kind in kinds if kind.value != "unset"]
        if text not in words:
            self.problem(f"{shown(text)} is not one of {', '.join(words)}{near(text, words)}", name, rule=rule)
            return default
        return kinds(text)

    def number(self, name: str, *, least: int, default: int | None = None, most: int = MOST) -> int:
        """A number that is demanded unless it has a `default`."""
        if default is not None and name not in self.headers:
            return default
        text = self.text(name)
        if not text:
            return least
        if not _NUMBER.match(text) or int(text) < least:
            self.problem(f"{shown(text)} is not a number of at least {least}", name, rule=AssertionRules.NUMBER)
            return least
        if int(text) > most:
            self.problem(f"{text} is too large, at most {most} is allowed", name, rule=AssertionRules.NUMBER)
            return least
        return int(text)

    def size(self, name: str) -> int:
        """A number of bytes that is demanded."""
        return self.number(name, least=0, most=MOST_SIZE)

    def flag(self, name: str) -> bool:
        value = self.headers.get(name, "false")
        if value not in ("true", "false"):
            self.problem(f"{shown(value)} is not true or false", name, rule=AssertionRules.FLAG)
        return value == "true"

    def time(self, name: str) -> datetime:
        if name not in self.headers:
            self.problem("missing, expected a time", name, rule=AssertionRules.MISSING)
        return self.time_or_none(name) or EPOCH

    def time_or_none(self, name: str) -> datetime | None:
        """A time that may be left out."""
        if name not in self.headers:
            return None
        value = self.headers[name]
        try:
            return parse_time(value if isinstance(value, str) else shown(value))
        except ValueError as error:
            self.problem(str(error), name, rule=AssertionRules.TIME)
            return EPOCH

    def texts(self, name: str, *, form: Form | None = None) -> tuple[str, ...]:
        """A list of texts; empty when the header is left out."""
        found = []
        for index, item in enumerate(self._list(name, "a list of texts")):
            if not isinstance(item, str):
                self.problem(f"{shown(item)} is not a text", name, index, rule=AssertionRules.TEXT)
            elif form and not form.match(item):
                self.problem(f"{shown(item)} is not {form.what}", name, index, rule=form.rule)
            else:
                found.append(item)
        return tuple(found)

    def maps(self, name: str) -> tuple[Fields, ...]:
        """A list of maps; empty when the header is left out."""
        found = []
        for index, item in enumerate(self._list(name, "a list of maps")):
            if isinstance(item, Mapping):
                found.append(self.inner(item, name, index))
            else:
                self.problem(f"{shown(item)} is not a map", name, index, rule=AssertionRules.MAP)
        return tuple(found)

    def map(self, name: str) -> Fields | None:
        """A map, or None when the header is left out."""
        value = self.headers.get(name)
        if value is None or isinstance(value, Mapping):
            return None if value is None else self.inner(value, name)
        self.problem(f"{shown(value)} is not a map", name, rule=AssertionRules.MAP)
        return None

    def require(self, name: str, what: str) -> None:
        """Note it if a list or map that is demanded is not there."""
        if name not in self.headers:
            self.problem(f"missing, expected {what}", name, rule=AssertionRules.MISSING)

    def once(self, entries: tuple[Fields, ...], name: str, key: Callable[[Fields], str | None] | None = None) -> None:
        """Note every entry whose header `name` says what an entry before it has said."""
        seen: set[str] = set()
        for entry in entries:
            value = key(entry) if key else entry.headers.get(name)
            if isinstance(value, str) and value:
                if value in seen:
                    entry.problem(f"{shown(value)} is named twice", name, rule=AssertionRules.TWICE)
                seen.add(value)

    def _list(self, name: str, what: str) -> tuple[Header, ...]:
        value = self.headers.get(name, ())
        if isinstance(value, (str, Mapping)):
            self.problem(f"{shown(value)} is not {what}", name, rule=AssertionRules.LIST)
            return ()
        return tuple(value)
