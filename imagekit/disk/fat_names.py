"""Names on FAT: the 8.3 alias that every entry has, and the long name in front of it.

Decides which alias a long name gets, never which names a volume has.

Source: Microsoft FAT specification (August 2005), sections 6.1 and 7. A long name is UTF-16 in entries of 13 units, the
last one first; a name that is its own 8.3 name, in capitals, needs none.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable

from imagekit.errors import PlanError

ATTR_VOLUME = 0x08
ATTR_DIRECTORY = 0x10
ATTR_ARCHIVE = 0x20
ATTR_LONG = 0x0F
LONG_UNITS = 255
PER_ENTRY = 13

_SHORT_PUNCTUATION = "$%'-_@~`!(){}^#&"
_NEVER = set('"*/:<>?\\|') | {chr(code) for code in range(32)} | {"\x7f"}
_LONG = struct.Struct("<B10sBBB12sH4s")


def check_name(name: str) -> None:
    """Raises: PlanError: FAT cannot have a file of this name."""
    bad = sorted(_NEVER & set(name)) or [letter for letter in name if "\ud800" <= letter <= "\udfff"]  # bytes, no text
    if not name or name in (".", "..") or bad or name[-1] in ". " or name[0] == " ":
        why = f"{bad[0]!r} is not allowed" if bad else "names do not begin with a space, or end with one or with a dot"
        raise PlanError(f"cannot place {name!r} on FAT: {why}")
    if len(name.encode("utf-16-le")) > 2 * LONG_UNITS:
        raise PlanError(f"cannot place {name[:20]!r}... on FAT: its name takes more than {LONG_UNITS} UTF-16 units")


def _is_short(character: str) -> bool:
    return character in _SHORT_PUNCTUATION or (character.isascii() and (character.isupper() or character.isdigit()))


def _split(name: str) -> tuple[str, str]:
    base, dot, extension = name.rpartition(".")
    return (base, extension) if dot and base else (name, "")


def plain_alias(name: str) -> bytes | None:
    """The 11 bytes of a name that is an 8.3 name once its letters are capitals; None for any other."""
    base, extension = _split(name.upper() if name.isascii() else name)
    fits = 1 <= len(base) <= 8 and len(extension) <= 3 and not name.endswith(".")
    if not fits or not all(map(_is_short, base + extension)):
        return None
    return (base.ljust(8) + extension.ljust(3)).encode("ascii")


def needs_long(name: str) -> bool:
    """Whether the 8.3 name alone would not give `name` back."""
    return plain_alias(name) is None or name != name.upper()


def tailed_alias(name: str, taken: Container[bytes]) -> bytes:
    """An alias of the form `NAME~1.EXT` that is not among `taken`."""
    base, extension = (
        "".join(letter if _is_short(letter) else "_" for letter in part.upper() if letter not in ". ")
        for part in _split(name.strip(". ") or "_"))
    for number in range(1, 1_000_000):
        tail = f"~{number}"
        alias = ((base[:8 - len(tail)] + tail).ljust(8) + extension[:3].ljust(3)).encode("ascii")
        if alias not in taken:
            return alias
    raise PlanError(f"cannot place {name!r} on FAT: no 8.3 alias is left in its directory")


def aliases(names: Iterable[str]) -> dict[str, bytes]:
    """The alias of every name of one directory: plain ones first, then `~1` and up in the order given.

    Raises:
        PlanError: a name that FAT cannot have, or two that differ in case only.
    """
    ordered = list(names)
    result: dict[str, bytes] = {}
    folded: dict[str, str] = {}
    for name in ordered:
        check_name(name)
        same = folded.setdefault(name.casefold(), name)
        if same != name:
            raise PlanError(f"cannot place {name!r} on FAT: {same!r} is there, and FAT does not tell case apart")
        alias = plain_alias(name)
        if alias is not None:
            result[name] = alias
    taken = set(result.values())
    for name in ordered:
        if name not in result:
            result[name] = tailed_alias(name, taken)
            taken.add(result[name])
    return result


def checksum(alias: bytes) -> int:
    """What ties long entries to their alias (section 7.2)."""
    total = 0
    for byte in alias:
        total = (((total & 1) << 7) + (total >> 1) + byte) & 0xFF
    return total


def encode_long(name: str, alias: bytes) -> bytes:
    """The long entries of `name`, as they stand before the entry of its alias; empty where the alias does."""
    if not needs_long(name):
        return b""
    units = name.encode("utf-16-le")
    count = -(-len(units) // (2 * PER_ENTRY))
    if len(units) % (2 * PER_ENTRY):
        units = (units + b"\0\0").ljust(count * 2 * PER_ENTRY, b"\xff")
    entries = []
    for number in range(count, 0, -1):
        part = units[(number - 1) * 26:number * 26]
        mark = number | 0x40 if number == count else number
        entries.append(_LONG.pack(mark, part[:10], ATTR_LONG, 0, checksum(alias), part[10:22], 0, part[22:]))
    return b"".join(entries)
