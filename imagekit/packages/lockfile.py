"""The lock file: which Debian packages, exactly, each recipe is made of.

Decides the format of `packages/parts.lock` and what a complete entry is. A recipe says what (suite, package names), the
lock says which (version, digests, where on the mirror). Finding that out is `imagekit.host.apt`'s; deciding when to do
it anew is `imagekit.build.parts`'s.

The file is JSON, one part to a line, so that a version change is a one-line difference:

    {"format": 1, "sections": {"<recipe>": {"suite": "trixie", "wants": [names...], "parts": [part...]}}}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from imagekit.errors import DocumentError
from imagekit.packages.debversion import compare_debian_versions

FORMAT = 1

_HEX256 = re.compile(r"[0-9a-f]{64}\Z")
_HEX512 = re.compile(r"[0-9a-f]{128}\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")  # Debian Policy 5.6.1
_WORD = re.compile(r"[A-Za-z0-9.+:~_-]+\Z")
_POOL = re.compile(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Debian package, pinned. `filename` is relative to the mirror of its `archive`."""

    name: str
    version: str
    architecture: str
    archive: str  # "debian" or "debian-security": which of the host's mirrors
    filename: str
    size: int
    sha256: str
    sha512: str
    source: str
    source_version: str


_FIELDS = {item.name for item in fields(Part)}
_ALLOWED = {
    "name": _NAME, "version": _WORD, "architecture": _NAME, "archive": _NAME, "filename": _POOL,
    "sha256": _HEX256, "sha512": _HEX512, "source": _NAME, "source_version": _WORD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one recipe asked for, and the parts that answer it, sorted by name."""

    suite: str
    wants: tuple[str, ...]
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        """Raises: DocumentError: the section has no such part."""
        for part in self.parts:
            if part.name == name:
                return part
        raise DocumentError(f"cannot find part {name} in the lock: it has no such package",
                            hint="imagekit lock --update")

    def with_parts(self, parts: Iterable[Part]) -> Section:
        ordered = tuple(sorted(parts, key=lambda part: (part.name, part.architecture)))
        return Section(suite=self.suite, wants=self.wants, parts=ordered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A whole lock file."""

    sections: Mapping[str, Section]

    def with_section(self, name: str, section: Section) -> Lock:
        return Lock(sections=MappingProxyType({**self.sections, name: section}))


EMPTY = Lock(sections=MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartChange:
    """A part that one lock has otherwise than another; None: not at all."""

    recipe: str
    package: str
    locked: str | None
    offered: str | None

    @property
    def older(self) -> bool:
        """Whether what is offered is older than what is locked: its mirror lags behind, or went back."""
        return (self.locked is not None and self.offered is not None
                and compare_debian_versions(self.offered, self.locked) < 0)


def part_changes(old: Lock, new: Lock, recipe: str) -> tuple[PartChange, ...]:
    """What is other in the section of `recipe`, by the packages' names."""
    sections = (lock.sections.get(recipe) for lock in (old, new))
    before, after = ({part.name: part.version for part in section.parts} if section else {} for section in sections)
    return tuple(PartChange(recipe=recipe, package=package, locked=before.get(package), offered=after.get(package))
                 for package in sorted({*before, *after}) if before.get(package) != after.get(package))


def encode_lock(lock: Lock) -> bytes:
    """The file's bytes: sections and parts sorted, one part to a line."""
    lines = [f'{{"format": {FORMAT}, "sections": {{']
    for number, (name, section) in enumerate(sorted(lock.sections.items())):
        lines.append(f'{"," if number else ""}"{name}": {{"suite": {json.dumps(section.suite)}, '
                     f'"wants": {json.dumps(sorted(section.wants))}, "parts": [')
        rows = [json.dumps(asdict(part)) for part in section.with_parts(section.parts).parts]
        lines.append(",\n".join(rows))
        lines.append("]}")
    lines.append("}}")
    return ("\n".join(lines) + "\n").encode()


def parse_lock(content: bytes, *, name: str) -> Lock:
    """Read a lock file.

    Raises:
        DocumentError: with every problem of it.
    """
    try:
        document = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentError(f"cannot read {name}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DocumentError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise DocumentError(f"cannot read {name}: nested too deeply") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise DocumentError(f"cannot read {name}: format {found!r}, this imagekit reads {FORMAT}")
    problems: list[str] = []
    sections: dict[str, Section] = {}
    given = document.get("sections")
    if not isinstance(given, dict):
        raise DocumentError(f"cannot read {name}: sections: not a map of recipe names")
    for key, value in given.items():
        section = _section(value, f"sections.{key}", problems)
        if section is not None:
            sections[key] = section
    if problems:
        raise DocumentError(f"cannot use {name}: {problems[0]}" if len(problems) == 1
                            else f"cannot use {name}: {len(problems)} problems",
                            details=() if len(problems) == 1 else tuple(problems))
    return Lock(sections=MappingProxyType(sections))


def _section(value: Any, where: str, problems: list[str]) -> Section | None:
    if not isinstance(value, dict) or not isinstance(value.get("suite"), str) \
            or not _strings(value.get("wants")) or not isinstance(value.get("parts"), list):
        problems.append(f"{where}: needs suite (text), wants (names) and parts (list)")
        return None
    parts = [_part(item, f"{where}.parts[{number}]", problems) for number, item in enumerate(value["parts"])]
    names = Counter((part.name, part.architecture) for part in parts if part is not None)
    for twice in sorted(name for name, count in names.items() if count > 1):
        problems.append(f"{where}: part {twice[0]}:{twice[1]} is there twice")
    return Section(suite=value["suite"], wants=tuple(value["wants"]),
                   parts=tuple(part for part in parts if part is not None))


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _part(value: Any, where: str, problems: list[str]) -> Part | None:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        problems.append(f"{where}: needs exactly {', '.join(item.name for item in fields(Part))}")
        return None
    before = len(problems)
    for key, pattern in _ALLOWED.items():
        if not isinstance(value[key], str) or not pattern.match(value[key]):
            problems.append(f"{where}.{key}: {value[key]!r} is not allowed here")
    if type(value["size"]) is not int or not 0 < value["size"] < 1 << 40:
        problems.append(f"{where}.size: {value['size']!r} is not a size in bytes")
    return Part(**value) if len(problems) == before else None


def digest_of(section: Section) -> str:
    """What identifies the parts of a section: their digests, in order."""
    text = "\n".join(f"{part.name} {part.version} {part.sha256}" for part in section.parts)
    return hashlib.sha256(text.encode()).hexdigest()
