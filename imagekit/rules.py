"""Every rule that a document is held to has an id, so that a refusal can be looked up, counted and tested.

A format keeps its rules as constants of one class in its own package (`imagekit.gadget.rulebook` and the like); those
that any YAML document is held to are here. A problem carries the rule that it breaks; `tests/documents/invalid` has a
folder for each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`id` is the format's word and the rule's, with hyphens (`gadget-size-missing`); `text` says what is demanded."""

    id: str
    text: str


def rules_of(book: type) -> tuple[Rule, ...]:
    """The rules that stand in a class of constants, in its order."""
    return tuple(value for value in vars(book).values() if isinstance(value, Rule))


class YamlRules:
    """What any YAML document of ours is held to."""

    SIZE = Rule("yaml-size", "a document has at most 1 MiB")
    UTF8 = Rule("yaml-utf8", "a document is UTF-8")
    SYNTAX = Rule("yaml-syntax", "a document is one YAML document")
    ALIAS = Rule("yaml-alias", "a document has no aliases")
    DEPTH = Rule("yaml-depth", "maps and lists are nested at most 64 deep")
    REPEATED = Rule("yaml-repeated-key", "a key stands once in its map")
    MAP = Rule("yaml-map", "a map stands where the format has a map")
    LIST = Rule("yaml-list", "a list stands where the format has a list")
    STRING = Rule("yaml-string", "a string stands where the format has a string")
    BOOLEAN = Rule("yaml-boolean", "true or false stands where the format has a boolean")
    QUANTITY = Rule("yaml-quantity", "a size is an integer of bytes, or one with M (2^20) or G (2^30)")
