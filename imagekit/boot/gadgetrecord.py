"""The gadget's record: which revision of the gadget a device has, and how to take back one that is on trial.

Decides the bytes of the record, which of its two copies counts, and what a healthy boot makes of a gadget on trial. It
lies on the slot-state partition, behind what the loaders read, so that a device which lost its data still knows what
its boot files are. Nothing in it is believed for itself: the revision is proved by the assertions in it. A device
fresh from the factory has none; there the seed answers.

Grammar, little-endian, one copy at 64 KiB and one at 544 KiB of the partition, each at most 480 KiB:

    0 magic "IKGR" | 4 u32 format (1) | 8 u32 generation | 12 u32 length of the document | 16 u32 CRC-32 of it
    20 the document: JSON, UTF-8, as `_document` makes it

The newer generation counts, in a circle, as of the slot-state record; a write goes over the other copy.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from imagekit.boot.slotstate import Slot
from imagekit.disk.fat_swap import Switch
from imagekit.errors import DocumentError
from imagekit.units import KIB

GADGET_OFFSETS = (64 * KIB, 544 * KIB)
GADGET_SIZE = 480 * KIB
GADGET_END = GADGET_OFFSETS[1] + GADGET_SIZE

_HEAD = struct.Struct("<4s4I")
_MAGIC = b"IKGR"
_FORMAT = 1
_CIRCLE = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGadget:
    """A revision of the gadget: its `meta/gadget.yaml`, and the stream of assertions that proves the revision."""

    revision: int
    document: bytes
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GadgetTrial:
    """A gadget on trial together with a slot. `switches` were made, or are being made, on `partition`."""

    gadget: KnownGadget
    slot: Slot
    base_root: str
    kernel_root: str
    partition: str
    switches: tuple[Switch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GadgetRecord:
    """One record. `installed` None: what the factory put on the disk."""

    generation: int
    installed: KnownGadget | None
    trial: GadgetTrial | None


class End(StrEnum):
    """What a healthy boot makes of a trial."""

    KEPT = "kept"  # it ran with what it came with
    TAKEN_BACK = "taken back"  # something else had to


NO_RECORD = GadgetRecord(generation=0, installed=None, trial=None)


def end_of(trial: GadgetTrial, slot: Slot, roots: tuple[str, str]) -> End:
    """How the trial ends when `slot` is healthy with these roots of base and kernel."""
    mine = (trial.slot, trial.base_root, trial.kernel_root)
    return End.KEPT if (slot, *roots) == mine else End.TAKEN_BACK


def ended(record: GadgetRecord, end: End) -> GadgetRecord:
    """The record after the trial."""
    assert record.trial is not None
    installed = record.trial.gadget if end is End.KEPT else record.installed
    return following(replace(record, installed=installed, trial=None))


def following(record: GadgetRecord) -> GadgetRecord:
    """The same in the next generation, which is the one to write."""
    return replace(record, generation=(record.generation + 1) % _CIRCLE)


def encode_gadget_record(record: GadgetRecord) -> bytes:
    """The bytes of one copy. Raises: DocumentError: they are more than a copy takes."""
    body = json.dumps(_document(record), separators=(",", ":")).encode()
    raw = _HEAD.pack(_MAGIC, _FORMAT, record.generation, len(body), zlib.crc32(body)) + body
    if len(raw) > GADGET_SIZE:
        raise DocumentError(f"cannot encode the gadget's record: {len(raw)} bytes, at most {GADGET_SIZE} fit")
    return raw


def decode_gadget_record(raw: bytes) -> GadgetRecord:
    """Read one copy. Raises: DocumentError: there is none, or it is damaged."""
    if len(raw) < _HEAD.size or raw[:4] != _MAGIC:
        raise _refusal("there is none")
    _, version, generation, length, checksum = _HEAD.unpack_from(raw)
    body = raw[_HEAD.size:_HEAD.size + length]
    if version != _FORMAT:
        raise _refusal(f"format {version}, this program knows {_FORMAT}")
    if len(body) < length or zlib.crc32(body) != checksum:
        raise _refusal("it is cut short or damaged")
    try:
        return _record(generation, json.loads(body))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _refusal(f"it is not one of ours: {error}") from error


def newest_gadget(copies: Sequence[bytes]) -> tuple[GadgetRecord, int]:
    """The record that counts, and the copy that the next write goes over; `NO_RECORD` where neither is valid."""
    found: list[tuple[int, GadgetRecord]] = []
    for index, raw in enumerate(copies):
        try:
            found.append((index, decode_gadget_record(raw)))
        except DocumentError:
            continue
    if not found:
        return NO_RECORD, 0
    index, best = found[0]
    for other, record in found[1:]:
        if 0 < (record.generation - best.generation) % _CIRCLE < _CIRCLE // 2:
            index, best = other, record
    return best, 1 - index


def _refusal(reason: str) -> DocumentError:
    return DocumentError(f"cannot read the gadget's record: {reason}")


def _document(record: GadgetRecord) -> dict[str, Any]:
    trial = record.trial
    return {
        "installed": None if record.installed is None else _gadget_document(record.installed),
        "trial": None if trial is None else {
            "gadget": _gadget_document(trial.gadget), "slot": trial.slot.value, "base_root": trial.base_root,
            "kernel_root": trial.kernel_root, "partition": trial.partition,
            "switches": [{"path": item.path, "at": item.at, "old": item.old.hex(), "new": item.new.hex()}
                         for item in trial.switches]},
    }


def _gadget_document(gadget: KnownGadget) -> dict[str, Any]:
    return {"revision": gadget.revision, "gadget.yaml": gadget.document.decode(), "proof": gadget.proof.decode()}


def _record(generation: int, found: dict[str, Any]) -> GadgetRecord:
    installed, trial = found["installed"], found["trial"]
    return GadgetRecord(
        generation=generation, installed=None if installed is None else _gadget(installed),
        trial=None if trial is None else GadgetTrial(
            gadget=_gadget(trial["gadget"]), slot=Slot(trial["slot"]), base_root=str(trial["base_root"]),
            kernel_root=str(trial["kernel_root"]), partition=str(trial["partition"]),
            switches=tuple(_switch(item) for item in trial["switches"])))


def _gadget(found: dict[str, Any]) -> KnownGadget:
    return KnownGadget(revision=int(found["revision"]), document=str(found["gadget.yaml"]).encode(),
                       proof=str(found["proof"]).encode())


def _switch(found: dict[str, Any]) -> Switch:
    old, new = bytes.fromhex(found["old"]), bytes.fromhex(found["new"])
    if len(old) != 32 or len(new) != 32 or int(found["at"]) % 32:
        raise ValueError("a directory entry has 32 bytes")
    return Switch(path=str(found["path"]), at=int(found["at"]), old=old, new=new)
