"""The rules of interfaces in snap-declarations and the base-declaration: their shape, and what they need to be read.

    rules    = map of interface -> rule
    rule     = "true" | "false" | map of allow-X and deny-X -> "true" | "false" | constraints | list of constraints
    X        = installation | connection | auto-connection
    constraints = map of what the field knows (see `_TEXTS` and `_read_constraints`); what it does not know is ignored

imagekit connects no interfaces: rules are held to their form, and `least_format` says which format has all of it.
Source: snapd's asserts/ifacedecls.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.assertions.constraints import Constraint, Missing, OneOf, Special, parse_constraint, parse_scope, walk
from imagekit.assertions.fields import SNAP_ID, Fields, Form
from imagekit.assertions.headers import shown
from imagekit.assertions.regexps import PatternError, compile_pattern
from imagekit.assertions.rulebook import AssertionRules

PARTS = tuple(f"{verdict}-{what}" for what in ("installation", "connection", "auto-connection")
              for verdict in ("allow", "deny"))
_ARITIES = ("slots-per-plug", "plugs-per-slot")
_NAMES = ("plug-names", "slot-names")
_ATTRIBUTES = ("plug-attributes", "slot-attributes")
_RULE = AssertionRules.DECLARATION_RULE
_SNAP_TYPE = Form(re.compile(r"(?:core|kernel|gadget|app)\Z"), "one of core, kernel, gadget, app", _RULE)
_PUBLISHER = Form(re.compile(r"(?:[a-z0-9A-Z]{32}|[-a-z0-9]{2,28}|\$[A-Z][A-Z0-9_]*)\Z"),
                  "an account id or a special word such as $SLOT_PUBLISHER_ID", _RULE)
_SYSTEM = Form(re.compile(r"[-0-9a-z._]+\Z"), "the ID of an os-release file", _RULE)
_SNAP_ID = Form(SNAP_ID.pattern, SNAP_ID.what, _RULE)
_FORMS = {f"{side}-{what}": form for side in ("plug", "slot")
          for what, form in (("snap-type", _SNAP_TYPE), ("snap-id", _SNAP_ID), ("publisher-id", _PUBLISHER))}
_WORD = re.compile(r"\$[A-Z][A-Z0-9_]*\Z")
_ARITY = re.compile(r"(?:\*|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRules:
    """The interfaces that have rules, for plugs and for slots, and the format that has all that they say."""

    plugs: frozenset[str]
    slots: frozenset[str]
    least_format: int


def parse_rules(fields: Fields) -> InterfaceRules:
    """The headers `plugs` and `slots`."""
    reader = _Reader()
    found: dict[str, frozenset[str]] = {}
    for side in ("plugs", "slots"):
        rules = fields.map(side)
        if rules is not None:
            reader.least_format = max(reader.least_format, 1)
            for interface in rules.headers:
                reader.rule(rules, interface, side.removesuffix("s"))
        found[side] = frozenset(rules.headers if rules else ())
    return InterfaceRules(plugs=found["plugs"], slots=found["slots"], least_format=reader.least_format)


class _Reader:
    """Walks over rules and remembers the highest format that something needs."""

    def __init__(self) -> None:
        self.least_format = 0

    def rule(self, rules: Fields, interface: str, side: str) -> None:
        value = rules.headers[interface]
        if value in ("true", "false"):
            return
        if not isinstance(value, Mapping):
            rules.problem(f"{shown(value)} is not a map, true or false", interface, rule=_RULE)
            return
        rule = rules.inner(value, interface)
        if not set(PARTS) & set(value):
            rule.problem(f"says nothing, expected one at least of {', '.join(PARTS)}", rule=_RULE)
        for part in PARTS:
            if part in rule:
                self._part(rule, part, side)

    def _part(self, rule: Fields, part: str, side: str) -> None:
        value = rule.headers[part]
        if value in ("true", "false"):
            return
        if isinstance(value, Mapping):
            self._constraints(rule.inner(value, part), part, side)
        elif isinstance(value, tuple):
            for entry in rule.maps(part):
                self._constraints(entry, part, side)
        else:
            rule.problem(f"{shown(value)} is not a map, true, false or a list of maps", part, rule=_RULE)

    def _constraints(self, fields: Fields, part: str, side: str) -> None:
        connection = not part.endswith("-installation")
        other = "slot" if side == "plug" else "plug"
        names, attributes = (_NAMES, _ATTRIBUTES) if connection else ((f"{side}-names",), (f"{side}-attributes",))
        forms = ((f"{other}-snap-type", f"{other}-publisher-id", f"{other}-snap-id", "slot-snap-type") if connection
                 else (f"{side}-snap-type", f"{side}-snap-id"))
        for name in names:
            if name in fields:
                self.least_format = max(self.least_format, 4)
                self._names(fields, name)
        for name in attributes:
            if name in fields:
                self._attributes(parse_constraint(fields, name, special=True, top=True))
        for name in dict.fromkeys(forms):
            fields.texts(name, form=_FORMS[name])
        self._arities(fields, part)
        self._systems(fields)
        if (scope := parse_scope(fields)) is not None:
            self.least_format = max(self.least_format, 3)
        known = {*names, *attributes, *forms, *_ARITIES, "on-classic", "on-core-desktop"}
        if connection and scope is None and not known & set(fields.headers):
            fields.problem(f"says nothing, expected one at least of {', '.join(sorted(known))},"
                           " on-store, on-brand, on-model", rule=_RULE)

    def _attributes(self, constraint: Constraint) -> None:
        for inner in walk(constraint):
            if isinstance(inner, Missing):
                needed = 2
            elif isinstance(inner, Special):
                needed = 6 if inner.word.endswith("_PUBLISHER_ID") else 2
            else:
                needed = 5 if isinstance(inner, OneOf) else 1
            self.least_format = max(self.least_format, needed)

    def _names(self, fields: Fields, name: str) -> None:
        for index, text in enumerate(fields.texts(name)):
            if text.startswith("$"):
                wrong = None if _WORD.match(text) else "is not a special word: $ and upper-case letters"
            else:
                wrong = _pattern_problem(text)
            if wrong:
                fields.problem(f"{shown(text)} {wrong}", name, index, rule=AssertionRules.PATTERN)

    def _arities(self, fields: Fields, part: str) -> None:
        for name in _ARITIES:
            value = fields.headers.get(name)
            if value is None:
                continue
            if part not in ("allow-connection", "allow-auto-connection"):
                fields.problem("has no meaning here, only under allow-connection and allow-auto-connection", name,
                               rule=_RULE)
            elif not isinstance(value, str) or not _ARITY.match(value):
                fields.problem(f"{shown(value)} is not a number of at least 1, or *", name, rule=_RULE)

    def _systems(self, fields: Fields) -> None:
        value = fields.headers.get("on-classic")
        if isinstance(value, tuple):
            fields.texts("on-classic", form=_SYSTEM)
        elif value not in (None, "true", "false"):
            fields.problem(f"{shown(value)} is not true, false or a list of os-release IDs", "on-classic", rule=_RULE)
        if (value := fields.headers.get("on-core-desktop")) not in (None, "true", "false"):
            fields.problem(f"{shown(value)} is not true or false", "on-core-desktop", rule=_RULE)


def _pattern_problem(text: str) -> str | None:
    if any(letter.isspace() for letter in text):
        return "is a pattern with spaces, no name has them"
    try:
        compile_pattern(text)
    except PatternError as error:
        return f"is not a pattern: {error}"
    return None
