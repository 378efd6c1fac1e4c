"""What a frozen format is: an encoder of today, a reader of today, and what both may do to the bytes of yesterday."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any


class Holds(Enum):
    """What a change of today's encoder may do to the bytes."""

    NOTHING = "the same bytes"
    KEYS = "the same keys and values; there may be more keys, which older readers leave alone"
    SHAPE = "the same keys with values of the same kinds; times and names of a machine stand in it"
    READING = "any bytes that mean the same: only reading is held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`value` is what today's reader finds in the bytes of any version."""

    encode: Callable[[], bytes]
    decode: Callable[[bytes], Any]
    value: Any
    holds: Holds = Holds.NOTHING

    def changed(self, old: bytes) -> str:
        """What today's encoder does to bytes that are frozen, and may not; nothing: it makes the same."""
        return unlike(self.holds, old, self.encode())


def unlike(holds: Holds, old: bytes, new: bytes) -> str:
    """What an encoder may not have changed, and has; nothing: it has not."""
    if holds is Holds.NOTHING and old != new:
        at = next((number for number, (one, other) in enumerate(zip(old, new, strict=False)) if one != other),
                  min(len(old), len(new)))
        return f"byte {at}"
    if holds is Holds.SHAPE:
        return lost(shape(json.loads(old)), shape(json.loads(new)))
    return lost(json.loads(old), json.loads(new)) if holds is Holds.KEYS else ""


def lost(old: Any, new: Any, where: str = "") -> str:
    """The first thing in `old` that `new` does not say as well."""
    if isinstance(old, dict) and isinstance(new, dict):
        missing = [f"{where}.{key} is gone" for key in old if key not in new]
        return next(iter([*missing, *(found for key in old if key in new
                                      and (found := lost(old[key], new[key], f"{where}.{key}")))]), "")
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return next((found for number, (one, other) in enumerate(zip(old, new, strict=True))
                     if (found := lost(one, other, f"{where}[{number}]"))), "")
    return "" if (type(old), old) == (type(new), new) else f"{where} was {old!r}, is {new!r}"


def shape(value: Any) -> Any:
    """A document with the kinds of its values in their place, but for its version; of a list the first item counts."""
    if isinstance(value, dict):
        return {key: item if key == "version" else shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def unfilled(value: Any, where: str = "") -> list[str]:
    """The keys of a document that have no value anywhere in it; of the items of a list one is enough."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in unfilled(item, f"{where}.{key}")]
    if isinstance(value, list) and value:
        each = [unfilled(item, f"{where}[]") for item in value]
        return sorted(set.intersection(*map(set, each)))
    return [where] if value is None or value in ("", []) else []


def in_folder(use: Callable[[Path], Any]) -> Any:
    """What `use` makes of an empty folder."""
    with tempfile.TemporaryDirectory(prefix="imagekit-frozen-") as folder:
        return use(Path(folder))


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def places(today: Callable[[], dict[str, Any]]) -> Format:
    """Where things lie, or what they are called: what is frozen of that stays so."""
    def stays(raw: bytes) -> bool:
        frozen, now = json.loads(raw), json.loads(as_json(today()))
        return all(now.get(key) == value for key, value in frozen.items())

    return Format(encode=lambda: as_json(today()), decode=stays, value=True, holds=Holds.KEYS)
