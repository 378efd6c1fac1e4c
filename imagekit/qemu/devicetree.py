"""Take out of a device tree what QEMU does not model, before QEMU gets it.

A board's card has the device tree of the real board, and stays as it is. What QEMU lacks of that board would hang or
crash the kernel that believes the tree; QEMU's own machines edit their trees for that reason, and a machine of ours may
say what else is to be changed in its run's copy (`device-tree` in docs/reference/qemu-machines.md). `fdtput` does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.host.ports import Tools

Values = tuple[str, ...] | tuple[int, ...]  # strings, or cells of 32 bits

_NODE = {"type": "string", "pattern": r"\A(/[A-Za-z0-9,._+@-]+)+\Z", "maxLength": 200}
_PROPERTY = r"\A[A-Za-z0-9#][A-Za-z0-9,._+?#-]{0,30}\Z"  # Devicetree Specification 2.2.4
_STRINGS = {"type": "array", "minItems": 1, "maxItems": 16,
            "items": {"type": "string", "pattern": r"\A[\x20-\x7e]+\Z", "maxLength": 200}}
_CELLS = {"type": "array", "minItems": 1, "maxItems": 64,
          "items": {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFF}}
SCHEMA: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": 64, "items": {
    "type": "object", "additionalProperties": False, "required": ["node"], "minProperties": 2,
    "properties": {
        "node": _NODE,
        "set": {"type": "object", "minProperties": 1, "propertyNames": {"pattern": _PROPERTY},
                "additionalProperties": {"oneOf": [_STRINGS, _CELLS]}},
        "delete": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": _PROPERTY}},
        "remove": {"const": True},
    },
    "dependentSchemas": {"remove": {"maxProperties": 2}},
}}


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEdit:
    """What is done to a node: properties are set (the node is made if it is not there) and deleted, or it goes."""

    node: str
    set: tuple[tuple[str, Values], ...] = ()
    delete: tuple[str, ...] = ()
    remove: bool = False


def parse_edits(value: list[Mapping[str, Any]]) -> tuple[TreeEdit, ...]:
    """The edits of a list that has the shape of `SCHEMA`."""
    return tuple(TreeEdit(node=item["node"], delete=tuple(item.get("delete", ())), remove=item.get("remove", False),
                          set=tuple((name, tuple(held)) for name, held in item.get("set", {}).items()))
                 for item in value)


def edit_tree(tools: Tools, path: Path, edits: tuple[TreeEdit, ...]) -> None:
    """Change the device tree blob at `path`.

    Raises:
        HostError: fdtput is missing, or the tree has no such node or property.
    """
    for edit in edits:
        for words in _commands(edit, path):
            tools.run("fdtput", *words)


def _commands(edit: TreeEdit, path: Path) -> Iterator[tuple[str | Path, ...]]:
    if edit.remove:
        yield "-r", path, edit.node
    for name in edit.delete:
        yield "-d", path, edit.node, name
    for name, values in edit.set:
        kind = "x" if isinstance(values[0], int) else "s"
        yield "-p", "-t", kind, path, edit.node, name, *(f"{item:x}" if isinstance(item, int) else item
                                                          for item in values)
