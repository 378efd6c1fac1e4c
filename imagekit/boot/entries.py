"""Loader entries of a slot: type 1 entries of the Boot Loader Specification, in a form that survives a power cut.

Decides: the bytes and the name of `loader/entries/imagekit-SLOT.conf`, and the one change ever made to it in place. An
entry is exactly 1024 bytes, filled up with `#` lines, so that it fits one FAT cluster, and everything that is rewritten
(`version`) lies in its first 512 bytes: an overwrite of one sector is either done or not. Leaves to others: which entry
the loader takes (`imagekit.boot.systemd_boot`), and the writing.

Source: UAPI.1 Boot Loader Specification, sections "Type #1" and "Boot counting".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from imagekit.boot.slotstate import Slot
from imagekit.errors import DocumentError, PlanError

ENTRY_SIZE = 1024
SECTOR = 512
ENTRY_FOLDER = "loader/entries"
VERSION_MAX = 9_999_999_999  # ten digits, always all ten

_ROOT = re.compile(r"[0-9a-f]{64}\Z")
_PARTUUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_VERSION = re.compile(rb"^version [0-9]{10}$", re.MULTILINE)
_OWN = ("imagekit.slot", "imagekit.base", "imagekit.kernel", "imagekit.state")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderEntry:
    """What an entry of ours says. `version` is the rank among the slots: the higher boots; roots are hex SHA-256."""

    slot: Slot
    version: int
    base_root: str
    kernel_root: str
    state_partuuid: str
    cmdline: str


def slot_folder(slot: Slot) -> str:
    """The folder of the slot on the ESP, without a leading slash. An image has both: a device never makes one."""
    return f"EFI/imagekit/{slot.value}"


def kernel_path(slot: Slot) -> str:
    """Where the slot's unified kernel image lies on the ESP, without a leading slash."""
    return f"{slot_folder(slot)}/kernel.efi"


def entry_name(slot: Slot, *, tries: int | None = None) -> str:
    """`imagekit-a.conf`, or with a counter `imagekit-a+3.conf`: the slot has so many boots to prove itself."""
    return f"imagekit-{slot.value}.conf" if tries is None else f"imagekit-{slot.value}+{tries}.conf"


def encode_entry(entry: LoaderEntry) -> bytes:
    """The 1024 bytes of the file.

    Raises:
        DocumentError: a field is not in the form that the initrd demands.
        PlanError: the gadget's command line leaves no room.
    """
    _check(entry)
    options = " ".join((
        f"imagekit.slot={entry.slot.value}", f"imagekit.base={entry.base_root}",
        f"imagekit.kernel={entry.kernel_root}", f"imagekit.state={entry.state_partuuid}", *entry.cmdline.split(),
    ))
    text = (
        f"title imagekit slot {entry.slot.value}\nversion {entry.version:010d}\nsort-key imagekit\n"
        f"efi /{kernel_path(entry.slot)}\noptions {options}\n"
    ).encode("ascii")
    if len(text) > ENTRY_SIZE:
        raise PlanError(
            f"cannot encode the loader entry of slot {entry.slot.value}: {len(text)} bytes, at most {ENTRY_SIZE} fit",
            hint="shorten the command line of the gadget",
        )
    return text + _padding(ENTRY_SIZE - len(text))


def _check(entry: LoaderEntry) -> None:
    for name, value, pattern in (
        ("base root", entry.base_root, _ROOT), ("kernel root", entry.kernel_root, _ROOT),
        ("state partition", entry.state_partuuid, _PARTUUID),
    ):
        if not pattern.match(value):
            raise DocumentError(f"cannot encode a loader entry: {name} {value!r} is not lower-case hexadecimal of the "
                                "right length")
    if not 0 <= entry.version <= VERSION_MAX:
        raise DocumentError(f"cannot encode a loader entry: version {entry.version}, allowed is 0 to {VERSION_MAX}")
    if not all(" " <= letter <= "~" for letter in entry.cmdline):
        raise DocumentError("cannot encode a loader entry: the command line holds more than printable ASCII")
    if own := [word for word in entry.cmdline.split() if word.partition("=")[0].startswith("imagekit.")]:
        raise DocumentError(f"cannot encode a loader entry: the command line may not set {own[0].partition('=')[0]}",
                            hint="words that begin with imagekit. are set by the builder alone")


def _padding(room: int) -> bytes:
    """Comment lines of at most 64 bytes, `room` bytes in all; a lone byte is an empty line."""
    lines = b""
    while room:
        length = min(room, 64)
        lines += b"#" * (length - 1) + b"\n"
        room -= length
    return lines


def fields(raw: bytes) -> dict[str, str]:
    """Key and value of every line that has both, the last of equal keys, as a loader reads an entry."""
    found: dict[str, str] = {}
    for line in raw.decode("utf-8", errors="replace").splitlines():
        key, _, value = line.strip().partition(" ")
        if key and not key.startswith("#") and value.strip():
            found[key] = value.strip()
    return found


def parse_entry(raw: bytes, *, name: str) -> LoaderEntry:
    """Read an entry of ours back.

    Raises:
        DocumentError: not an entry of ours; `name` is its file name.
    """
    found = fields(raw)
    words: dict[str, str] = {}
    rest: list[str] = []
    for word in found.get("options", "").split():
        key, equals, value = word.partition("=")
        if not (equals and key in _OWN):
            rest.append(word)
        elif key in words:
            raise DocumentError(f"{name}: options: {key} is given twice")
        else:
            words[key] = value
    if missing := [key for key in _OWN if key not in words]:
        raise DocumentError(f"{name}: options: {missing[0]} is missing")
    version = found.get("version", "")
    if not re.fullmatch(r"[0-9]{10}", version):
        raise DocumentError(f"{name}: version: {version!r} is not ten digits")
    if words["imagekit.slot"] not in ("a", "b"):
        raise DocumentError(f"{name}: options: imagekit.slot={words['imagekit.slot']!r} is neither a nor b")
    entry = LoaderEntry(
        slot=Slot(words["imagekit.slot"]), version=int(version), base_root=words["imagekit.base"],
        kernel_root=words["imagekit.kernel"], state_partuuid=words["imagekit.state"], cmdline=" ".join(rest),
    )
    _check(entry)
    return entry


def with_version(entry: LoaderEntry, version: int) -> LoaderEntry:
    """The entry at another rank."""
    return replace(entry, version=version)


def sector_with_version(sector: bytes, version: int) -> bytes:
    """The first sector of an entry with its `version` replaced and nothing else: what a hand-over writes in place.

    Raises:
        DocumentError: the sector holds no version of ten digits, or the new one needs more.
    """
    if not 0 <= version <= VERSION_MAX:
        raise DocumentError(f"cannot rank a loader entry: version {version}, allowed is 0 to {VERSION_MAX}")
    changed, count = _VERSION.subn(f"version {version:010d}".encode(), sector[:SECTOR], count=1)
    if not count:
        raise DocumentError("cannot rank a loader entry: its first sector has no line `version` with ten digits")
    return changed
