"""What a gadget's recipe says of its board: for people who choose one (docs/reference/recipes.md, `board`).

Nothing is built from it; what the disk holds is gadget.yaml's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TEXT = {"type": "string", "minLength": 1, "maxLength": 300}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 16, "uniqueItems": True}

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False,
    "required": ["title", "covers", "boot-path", "flash", "unverified"],
    "properties": {"title": {**_TEXT, "maxLength": 60}, "covers": _TEXTS, "boot-path": _TEXTS, "flash": _TEXTS,
                   "unverified": {**_TEXTS, "minItems": 0}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardInfo:
    """`boot_path` are the stages, first to last; `flash` ways to put an image there; `unverified` what no signature
    reaches on this hardware."""

    title: str
    covers: tuple[str, ...]
    boot_path: tuple[str, ...]
    flash: tuple[str, ...]
    unverified: tuple[str, ...]


def board_info(value: Mapping[str, Any]) -> BoardInfo:
    """A block whose shape was checked."""
    return BoardInfo(title=value["title"], covers=tuple(value["covers"]), boot_path=tuple(value["boot-path"]),
                     flash=tuple(value["flash"]), unverified=tuple(value["unverified"]))
