"""The slot-state record: what the device remembers about its two slots, and every way that memory changes.

Decides: the bytes of the record, which of its two copies counts, and the transitions at boot, at a healthy verdict, at
a hand-over and at an update. Leaves to others: reading and writing the partition, and choosing a slot
(`imagekit.boot.systemd_boot` by loader entries, `imagekit.boot.uboot` by this record). `imagekit/build/initrd/init`
does the same in shell; a test runs both on equal input.

Grammar, little-endian, 512 bytes, one copy at 0 and one at 4096 of the partition (two blocks, so that one torn write
never takes both):

    0 magic "IKS1" | 4 u32 generation | 8 u8 slot (0 a, 1 b) | 9 u8 tries | 10 u8 confirmed | 11 u8 unhealthy
    12 u8 other_good | 13 u8 format (1) | 14 zeros | 0x1fc u32 CRC-32 (IEEE 802.3) of bytes 0..0x1fb

The newer generation counts, compared in a circle (RFC 1982) so that it may wrap; a write goes over the other copy,
with the generation one higher. `confirmed` and `other_good` both mean "this content has once been healthy", of the
slot named and of the slot not named: changing the slot swaps them.

The rule of a boot (`begin_boot`): the booted slot becomes the slot of the record; a slot that was begun `LIMIT` times
without a healthy verdict hands over to the other one if that has once been healthy; otherwise `unhealthy` rises by
one before anything of the slot is opened. Two slots that have both gone bad therefore alternate, three boots each: a
device never gives up.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from enum import Enum

from imagekit.errors import DocumentError

RECORD_SIZE = 512
COPY_OFFSETS = (0, 4096)
PARTITION_LEAST = 65536  # bytes: the numbers of `imagekit.boot.numbers` lie behind the two copies
LIMIT = 3  # boots that a slot gets to become healthy
TRIES = 3  # boots that the loader grants a new slot

_MAGIC = b"IKS1"
_FORMAT = 1
_HEAD = struct.Struct("<4sI6B")
_CRC = struct.Struct("<I")
_CRC_AT = RECORD_SIZE - _CRC.size
_CIRCLE = 1 << 32
_BYTE_MAX = 255


class Slot(Enum):
    """One of the two sets of base, kernel and boot files."""

    A = "a"
    B = "b"

    @property
    def other(self) -> Slot:
        return Slot.B if self is Slot.A else Slot.A


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """One record. `tries` is the journal of the loader's counter; it decides nothing where the loader counts itself."""

    generation: int
    slot: Slot
    tries: int
    confirmed: bool
    unhealthy: int
    other_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a boot has to do: write `record`; with `hand_over`, the other slot's loader entry before it, and reboot.

    `rank_first`: the entry of the booted slot before it. The loader, or the firmware's shell, passed over the confirmed
    slot of the record for this one, which has been healthy too; every boot would begin with that detour.
    """

    record: SlotState
    hand_over: bool
    rank_first: bool = False


FACTORY = SlotState(generation=1, slot=Slot.A, tries=0, confirmed=True, unhealthy=0, other_good=False)


def encode_record(state: SlotState) -> bytes:
    """The 512 bytes of one copy."""
    head = _HEAD.pack(
        _MAGIC, state.generation, state.slot is Slot.B, state.tries, state.confirmed, state.unhealthy,
        state.other_good, _FORMAT,
    ).ljust(_CRC_AT, b"\0")
    return head + _CRC.pack(zlib.crc32(head))


def decode_record(raw: bytes) -> SlotState:
    """Read one copy.

    Raises:
        DocumentError: cut short, wrong magic, checksum or format, or a field out of its range.
    """
    if len(raw) < RECORD_SIZE:
        raise _refusal(f"{len(raw)} bytes, a record has {RECORD_SIZE}")
    magic, generation, slot, tries, confirmed, unhealthy, other_good, version = _HEAD.unpack_from(raw)
    if magic != _MAGIC:
        raise _refusal(f"magic {magic.hex()}, expected {_MAGIC.hex()}")
    if zlib.crc32(raw[:_CRC_AT]) != _CRC.unpack_from(raw, _CRC_AT)[0]:
        raise _refusal("the checksum does not match")
    if version != _FORMAT:
        raise _refusal(f"format {version}, this program knows {_FORMAT}")
    if slot > 1 or confirmed > 1 or other_good > 1:
        raise _refusal(f"slot {slot}, confirmed {confirmed}, other_good {other_good}: each must be 0 or 1")
    return SlotState(
        generation=generation, slot=Slot.B if slot else Slot.A, tries=tries, confirmed=bool(confirmed),
        unhealthy=unhealthy, other_good=bool(other_good),
    )


def _refusal(reason: str) -> DocumentError:
    return DocumentError(f"cannot read the slot-state record: {reason}")


def is_newer(generation: int, than: int) -> bool:
    """Whether `generation` comes after `than` on the circle of 32-bit numbers (RFC 1982 section 3.2)."""
    return 0 < (generation - than) % _CIRCLE < _CIRCLE // 2


def newest(copies: tuple[bytes, bytes]) -> tuple[SlotState | None, int]:
    """The record that counts (None: no copy is valid), and the index of the copy to write next."""
    first, second = (_decode_or_none(raw) for raw in copies)
    if first is None or second is None:
        return (first or second), (1 if first else 0)
    return (second, 0) if is_newer(second.generation, first.generation) else (first, 1)


def _decode_or_none(raw: bytes) -> SlotState | None:
    try:
        return decode_record(raw)
    except DocumentError:
        return None


def encode_partition(state: SlotState) -> bytes:
    """The first bytes of a fresh partition: the record as first copy, no second one."""
    return encode_record(state).ljust(COPY_OFFSETS[1] + RECORD_SIZE, b"\0")


def begin_boot(state: SlotState | None, booted: Slot) -> Boot:
    """What the initrd does first, given the newest record (None: lost) and the slot that the loader chose."""
    here = seen_from(state, booted)
    if here.unhealthy >= LIMIT and here.other_good:
        return Boot(record=_switched(_next(here)), hand_over=True)
    left = state is not None and state.slot is not booted and state.confirmed and state.other_good
    return Boot(record=_begun(here), hand_over=False, rank_first=left)


def counted_boot(state: SlotState | None, booted: Slot, *, seen: int) -> SlotState | None:
    """What the initrd writes where the loader itself counts (U-Boot): nothing, unless the loader could not.

    A loader that reads and cannot write chooses by what the initrd counts for it. `seen` is the generation that the
    boot before left, 0 where nothing says so: a record that is no newer was not written by this boot's loader.
    """
    if state is not None and state.slot is booted and state.unhealthy and state.generation != seen:
        return None
    return _begun(seen_from(state, booted))


def stay(state: SlotState | None, booted: Slot) -> SlotState:
    """The record when a hand-over was due but could not be done: the booted slot gets another `LIMIT` boots."""
    return replace(_next(seen_from(state, booted)), unhealthy=1)


def mark_healthy(state: SlotState) -> SlotState:
    """The record after a healthy verdict, written once the loader's entry is blessed."""
    return replace(_next(state), tries=0, confirmed=True, unhealthy=0)


def begin_trial(state: SlotState, *, tries: int = TRIES) -> SlotState:
    """The record that an updater writes once the other slot is filled, just before its loader entry appears."""
    return replace(_switched(_next(state)), tries=tries, confirmed=False)


def hand_over(state: SlotState) -> SlotState:
    """The record that gives the device to the other slot, written where a person asks for it."""
    return _switched(_next(state))


def forget_other(state: SlotState) -> SlotState:
    """The record that an updater writes before the first changed byte of the other slot: no way back to that one."""
    return replace(_next(state), other_good=False)


def seen_from(state: SlotState | None, booted: Slot) -> SlotState:
    """The record as it looks from the slot that is running; None: it is lost."""
    if state is None:
        return SlotState(generation=0, slot=booted, tries=0, confirmed=False, unhealthy=0, other_good=False)
    return state if state.slot is booted else _switched(state)


def _next(state: SlotState) -> SlotState:
    return replace(state, generation=(state.generation + 1) % _CIRCLE)


def _begun(state: SlotState) -> SlotState:
    return replace(_next(state), unhealthy=min(state.unhealthy + 1, _BYTE_MAX), tries=max(state.tries - 1, 0))


def _switched(state: SlotState) -> SlotState:
    return replace(
        state, slot=state.slot.other, tries=0, confirmed=state.other_good, unhealthy=0, other_good=state.confirmed
    )
