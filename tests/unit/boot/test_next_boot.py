"""Which slot runs next: loader and initrd asked one after the other, with every reason told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagekit.boot.entries import LoaderEntry, encode_entry, kernel_path
from imagekit.boot.next_boot import plan_next_boot, read_copies
from imagekit.boot.slotstate import FACTORY, Slot, SlotState, encode_record

PROGRAMS = frozenset(kernel_path(slot) for slot in Slot)


def entry(slot: Slot, version: int) -> bytes:
    return encode_entry(LoaderEntry(slot=slot, version=version, base_root="a" * 64, kernel_root="b" * 64, cmdline="",
                                    state_partuuid="3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f"))


A, B = entry(Slot.A, 1), entry(Slot.B, 2)
TRIAL = replace(FACTORY, slot=Slot.B, tries=3, confirmed=False, other_good=True)


@pytest.mark.parametrize(("entries", "programs", "record", "slot", "hand_over", "words"), [
    ({"imagekit-a.conf": A}, PROGRAMS, FACTORY, Slot.A, False, ("only entry", "the record agrees: slot a has been")),
    ({"imagekit-a.conf": A, "imagekit-b+3.conf": B}, PROGRAMS, TRIAL, Slot.B, False,
     ("version 0000000002 is above 0000000001", "renames it to imagekit-b+2-1.conf", "not been healthy yet")),
    ({"imagekit-a.conf": A, "imagekit-b+0-3.conf": B}, PROGRAMS, TRIAL, Slot.A, False,
     ("imagekit-b+0-3.conf has no tries left", "the record is about slot b")),
    ({"imagekit-b+0-3.conf": B}, PROGRAMS, TRIAL, Slot.B, False, ("only entry",)),
    ({"imagekit-a+0-3.conf": A, "imagekit-b+0-3.conf": B}, PROGRAMS, TRIAL, Slot.B, False, ("no entry has tries",)),
    ({"imagekit-a.conf": A, "imagekit-b.conf": B}, PROGRAMS, replace(TRIAL, unhealthy=3), Slot.A, True,
     ("hands over to slot a",)),
    ({"imagekit-a.conf": A}, PROGRAMS, replace(FACTORY, unhealthy=3), Slot.A, False, ("tried again",)),
    ({"imagekit-a.conf": A}, PROGRAMS, None, Slot.A, False, ("no slot-state record is valid",)),
    ({"imagekit-a.conf": A, "imagekit-b.conf": B}, frozenset({kernel_path(Slot.A)}), TRIAL, Slot.A, False,
     ("imagekit-b.conf is not in the menu", "imagekit-a.conf is the loader's only entry")),
    ({"imagekit-a.conf": A}, frozenset[str](), FACTORY, None, False, ("the loader has no entry to start",)),
    ({"other.conf": A}, PROGRAMS, FACTORY, None, False, ("it is the entry of no slot",)),
    ({"imagekit-a.conf": A, "imagekit-b.conf": entry(Slot.B, 1)}, PROGRAMS, FACTORY, Slot.B, False,
     ("imagekit-b.conf comes first by its name", "begins anew with slot b")),
])
def test_next_slot_and_its_reasons(entries: dict[str, bytes], programs: frozenset[str], record: SlotState | None,
                                   slot: Slot | None, hand_over: bool, words: tuple[str, ...]) -> None:
    found = plan_next_boot(entries, programs, record)
    assert (found.slot, found.hand_over) == (slot, hand_over)
    for part in words:
        assert part in "; ".join(found.reasons)


def test_copies_are_valid_empty_or_torn() -> None:
    torn = encode_record(FACTORY)[:100].ljust(512, b"\xff")
    (first, second), record = read_copies((torn, encode_record(FACTORY)))
    assert (first.record, first.empty, second.record, record) == (None, False, FACTORY, FACTORY)
    assert "checksum" in first.problem
    (first, second), record = read_copies((bytes(512), bytes(512)))
    assert first.empty and second.empty and record is None
