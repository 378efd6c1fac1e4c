"""Every rule that a document is held to has an id, so that a refusal can be looked up, counted and tested.

A format keeps its rules as constants of one class in its own package (`imagekit.gadget.rulebook` and the like); those
that any YAML document is held to are here. A problem carries the rule that it breaks; `tests/documents/invalid` has a
folder for each, and docs/reference/rules.md lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`id` is the format's word and the rule's, with hyphens (`gadget-size-missing`); `text` says what is demanded.

    A document that breaks a rule with `warning` is accepted; somebody will regret it.
    """

    id: str
    text: str
    warning: bool = False


def rules_of(book: type) -> tuple[Rule, ...]:
    """The rules that stand in a class of constants, in its order."""
    return tuple(value for value in vars(book).values() if isinstance(value, Rule))


class YamlRules:
    """What any YAML document of ours is held to."""

    SIZE = Rule("yaml-size", "a document has at most 1 MiB")
    UTF8 = Rule("yaml-utf8", "a document is UTF-8")
    CHARACTER = Rule("yaml-character", "a document has no control characters but tab and line ends")
    SYNTAX = Rule("yaml-syntax", "a document is one YAML document")
    TAG = Rule("yaml-tag", "a value has no tag, or one of YAML's own that fits it")
    KEY = Rule("yaml-key", "a key is a plain word or a quoted text")
    ALIAS = Rule("yaml-alias", "an alias stands for an anchor above it, never for what it is a part of")
    MERGE = Rule("yaml-merge", "the merge key << takes a map, or a list of maps")
    NODES = Rule("yaml-nodes", "with its aliases written out a document has at most 100,000 keys and values")
    DEPTH = Rule("yaml-depth", "maps and lists are nested at most 64 deep")
    REPEATED = Rule("yaml-repeated-key", "a key stands once in its map")
    REPEATED_LAST = Rule("yaml-repeated-last", "in a document of the field the last of equal keys counts", warning=True)
    MERGE_LATE = Rule("yaml-merge-late", "a merge key stands before the keys that it shall not change", warning=True)
    MAP = Rule("yaml-map", "a map stands where the format has a map")
    LIST = Rule("yaml-list", "a list stands where the format has a list")
    STRING = Rule("yaml-string", "a string stands where the format has a string")
    BOOLEAN = Rule("yaml-boolean", "true or false stands where the format has a boolean")
    QUANTITY = Rule("yaml-quantity", "a size is an integer of bytes below 2^63, or one with M (2^20) or G (2^30)")
