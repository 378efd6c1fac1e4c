"""Constraints: patterns over headers and attributes, as account-keys and declarations hold them.

    constraint  = map of name -> constraint              each named value must match; a list matches if all of it does
                | pattern                                the whole text, see `imagekit.assertions.regexps`
                | "$MISSING"                             the value is not there
                | list of constraints                    one of them must match; not a list in a list
                | "$SLOT(name)" "$PLUG(name)" "$SLOT_PUBLISHER_ID" "$PLUG_PUBLISHER_ID"    in rules of interfaces only

Rules of interfaces are held to their shape here and never evaluated: imagekit connects no interfaces. Source: snapd's
asserts/constraint.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagekit.assertions.fields import ACCOUNT_ID, Fields, Form
from imagekit.assertions.headers import Header, shown
from imagekit.assertions.regexps import Pattern, PatternError, compile_pattern
from imagekit.assertions.rulebook import AssertionRules

STORE_ID = Form(re.compile(r"[A-Za-z0-9_-]+\Z"), "a store's id: letters, digits, hyphens and underscores",
                AssertionRules.SCOPE)
BRAND_MODEL = Form(re.compile(r"(?:[a-zA-Z0-9]{32}|[a-z0-9-]{2,28})/[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*\Z"),
                   "BRAND/MODEL", AssertionRules.SCOPE)
_BRAND = Form(ACCOUNT_ID.pattern, ACCOUNT_ID.what, AssertionRules.SCOPE)
SCOPES = {"on-store": STORE_ID, "on-brand": _BRAND, "on-model": BRAND_MODEL}
_SPECIAL = re.compile(r"\$(?:(?:SLOT|PLUG)\([^,)]+\)|(?:SLOT|PLUG)_PUBLISHER_ID)\Z")


@dataclass(frozen=True, slots=True)
class Missing:
    """The value is not there."""

    def matches(self, value: Header | None) -> bool:
        return value is None


@dataclass(frozen=True, slots=True)
class Text:
    """The whole text fits the pattern; of a list, each."""

    pattern: Pattern

    def matches(self, value: Header | None) -> bool:
        if isinstance(value, str):
            return self.pattern.matches(value)
        return isinstance(value, tuple) and all(map(self.matches, value))


@dataclass(frozen=True, slots=True)
class Special:
    """What only a connection of two snaps can tell; nothing here matches it."""

    word: str

    def matches(self, _: Header | None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Each:
    """Every named value matches its constraint; of a list of maps, each."""

    entries: Mapping[str, Constraint]

    def matches(self, value: Header | None) -> bool:
        if isinstance(value, Mapping):
            return all(constraint.matches(value.get(name)) for name, constraint in self.entries.items())
        return isinstance(value, tuple) and all(map(self.matches, value))


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the alternatives matches; of a list, one for each."""

    alternatives: tuple[Constraint, ...]

    def matches(self, value: Header | None) -> bool:
        if isinstance(value, tuple):
            return all(map(self.matches, value))
        return value is not None and any(constraint.matches(value) for constraint in self.alternatives)


Constraint = Missing | Text | Special | Each | OneOf


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceScope:
    """The devices that something is for; what is empty does not restrict. `models` are BRAND/MODEL."""

    stores: tuple[str, ...]
    brands: tuple[str, ...]
    models: tuple[str, ...]


def parse_constraint(fields: Fields, name: str, *, special: bool, top: bool = False) -> Constraint:
    """The constraint in the header `name`; `special` words are those of connections, `top` is not yet in a map."""
    return _Reader(fields, special).read(fields.headers[name], (name,), in_map=not top, in_list=False)


def parse_scope(fields: Fields) -> DeviceScope | None:
    """The devices that a rule is for, None where it does not say."""
    if not any(name in fields for name in SCOPES):
        return None
    stores, brands, models = (fields.texts(name, form=form) for name, form in SCOPES.items())
    return DeviceScope(stores=stores, brands=brands, models=models)


def walk(constraint: Constraint) -> Iterator[Constraint]:
    """The constraint and all inside it."""
    yield constraint
    inside = constraint.entries.values() if isinstance(constraint, Each) else \
        constraint.alternatives if isinstance(constraint, OneOf) else ()
    for inner in inside:
        yield from walk(inner)


class _Reader:
    def __init__(self, fields: Fields, special: bool) -> None:
        self._fields, self._special = fields, special

    def read(self, value: Header, path: tuple[str | int, ...], *, in_map: bool, in_list: bool) -> Constraint:
        if isinstance(value, Mapping):
            return Each({name: self.read(item, (*path, name), in_map=True, in_list=False)
                         for name, item in value.items()})
        if isinstance(value, str):
            return self._text(value, path, in_map)
        if in_list:
            self._refuse("a list of alternatives inside of another", path)
            return Missing()
        return OneOf(tuple(self.read(item, (*path, index), in_map=in_map, in_list=True)
                           for index, item in enumerate(value)))

    def _refuse(self, text: str, path: tuple[str | int, ...]) -> None:
        self._fields.problem(text, *path, rule=AssertionRules.PATTERN)

    def _text(self, value: str, path: tuple[str | int, ...], in_map: bool) -> Constraint:
        if not in_map:
            self._refuse(f"{shown(value)} is not a map of names to constraints", path)
        elif value == "$MISSING":
            return Missing()
        elif value.startswith("$"):
            if self._special and _SPECIAL.match(value):
                return Special(value)
            known = ("$MISSING, $SLOT(NAME), $PLUG(NAME), $SLOT_PUBLISHER_ID, $PLUG_PUBLISHER_ID"
                     if self._special else "$MISSING")
            self._refuse(f"{shown(value)} is not one of the special words {known}", path)
        else:
            try:
                return Text(compile_pattern(value))
            except PatternError as error:
                self._refuse(f"{shown(value)} is not a pattern: {error}", path)
        return Missing()
