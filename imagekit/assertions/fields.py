"""Typed access to headers that notes every problem instead of stopping at the first.

A `Fields` hands out values or harmless stand-ins; `finish` raises if anything was wrong. The problems keep their place,
so that a draft's can be shown at the line of its file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from imagekit.assertions.headers import Header
from imagekit.errors import DocumentError
from imagekit.schema import Path, dotted

E = TypeVar("E", bound=StrEnum)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ACCOUNT_ID = re.compile(r"(?:[a-zA-Z0-9]{32}|[a-z0-9-]{2,28})\Z")
SNAP_ID = re.compile(r"[a-zA-Z0-9]{32}\Z")
SNAP_NAME = re.compile(r"(?=[a-z0-9-]{2,40}\Z)(?=[0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
                   r"(?:Z|[+-][0-9]{2}:[0-9]{2})\Z")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")


class HeaderProblems(DocumentError):
    """All that is wrong with the headers of one assertion; `problems` are (place, text)."""

    def __init__(self, label: str, problems: tuple[tuple[Path, str], ...]) -> None:
        lines = tuple(f"{dotted(path)}: {text}" for path, text in problems)
        if len(lines) == 1:
            super().__init__(f"cannot use {label}: {lines[0]}")
        else:
            super().__init__(f"cannot use {label}: {len(lines)} problems", details=lines)
        self.problems = problems


def parse_time(text: str) -> datetime:
    """RFC 3339 with a time zone, as UTC. Raises: ValueError: anything else."""
    if not _TIME.match(text):
        raise ValueError(f"{text!r} is not a time of RFC 3339, as in 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time: {error}") from error


def format_time(when: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Fields:
    """The headers of an assertion, or of a map inside it."""

    def __init__(self, headers: Mapping[str, Header], *, path: Path = (),
                 problems: list[tuple[Path, str]] | None = None) -> None:
        self.headers = headers
        self._path = path
        self._problems: list[tuple[Path, str]] = [] if problems is None else problems

    def problem(self, text: str, *path: str | int) -> None:
        self._problems.append(((*self._path, *path), text))

    def finish(self, label: str) -> None:
        """Raises: HeaderProblems: if there was any problem."""
        if self._problems:
            raise HeaderProblems(label, tuple(self._problems))

    def text(self, name: str, *, default: str | None = None, pattern: re.Pattern[str] | None = None,
             what: str = "a text") -> str:
        """A text, not empty. Without a `default` the header is required."""
        value = self.headers.get(name)
        if value is None:
            if default is None:
                self.problem(f"missing, expected {what}", name)
            return default or ""
        if not isinstance(value, str) or not value or (pattern and not pattern.match(value)):
            self.problem(f"{value!r} is not {what}", name)
            return default or ""
        return value

    def choice(self, name: str, kinds: type[E], *, default: E) -> E:
        text = self.text(name, default=default)
        if text not in list(kinds):
            self.problem(f"{text!r} is not one of {', '.join(kinds)}", name)
            return default
        return kinds(text)

    def number(self, name: str, *, least: int) -> int:
        text = self.text(name, what="a number")
        if text and (not _NUMBER.match(text) or int(text) < least):
            self.problem(f"{text!r} is not a number of at least {least}", name)
            return least
        return int(text or "0")

    def flag(self, name: str) -> bool:
        text = self.text(name, default="false")
        if text not in ("true", "false"):
            self.problem(f"{text!r} is not true or false", name)
        return text == "true"

    def time(self, name: str) -> datetime:
        text = self.text(name, what="a time")
        try:
            return parse_time(text) if text else EPOCH
        except ValueError as error:
            self.problem(str(error), name)
            return EPOCH

    def texts(self, name: str, *, pattern: re.Pattern[str] | None = None, what: str = "a text") -> tuple[str, ...]:
        """A list of texts; empty when the header is absent."""
        value = self.headers.get(name, ())
        if isinstance(value, (str, Mapping)):
            self.problem("must be a list", name)
            return ()
        found = []
        for index, item in enumerate(value):
            if isinstance(item, str) and (pattern is None or pattern.match(item)):
                found.append(item)
            else:
                self.problem(f"{item!r} is not {what}", name, index)
        return tuple(found)

    def maps(self, name: str) -> tuple[Fields, ...]:
        """A list of maps; empty when the header is absent."""
        value = self.headers.get(name, ())
        if isinstance(value, (str, Mapping)):
            self.problem("must be a list of maps", name)
            return ()
        found = []
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                found.append(Fields(item, path=(*self._path, name, index), problems=self._problems))
            else:
                self.problem("must be a map", name, index)
        return tuple(found)
