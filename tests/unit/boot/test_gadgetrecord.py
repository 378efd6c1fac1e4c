"""The gadget's record: its bytes, its two copies, and how a trial ends."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.gadgetrecord import (
    GADGET_END,
    GADGET_SIZE,
    NO_RECORD,
    End,
    GadgetRecord,
    GadgetTrial,
    KnownGadget,
    decode_gadget_record,
    encode_gadget_record,
    end_of,
    ended,
    following,
    newest_gadget,
)
from imagekit.boot.slotstate import Slot
from imagekit.disk.fat_swap import Switch
from imagekit.errors import DocumentError
from imagekit.units import MIB

ONE = KnownGadget(revision=1, document=b"volumes: {}\n", proof=b"type: snap-revision\n")
TWO = replace(ONE, revision=2)
TRIAL = GadgetTrial(gadget=TWO, slot=Slot.B, base_root="1b" * 32, kernel_root="1c" * 32, partition="esp", switches=(
    Switch(path="EFI/BOOT/BOOTX64.EFI", at=8192, old=b"o" * 32, new=b"n" * 32),))
RECORD = GadgetRecord(generation=7, installed=ONE, trial=TRIAL)


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, trial=None), replace(RECORD, installed=None), NO_RECORD],
                         ids=["both", "installed", "first trial", "nothing"])
def test_record_is_read_back(record: GadgetRecord) -> None:
    assert decode_gadget_record(encode_gadget_record(record)) == record


def test_copies_lie_within_the_smallest_partition() -> None:
    assert GADGET_END <= MIB


@given(st.integers(0, 400), st.integers(1, 255))
def test_changed_byte_makes_no_record(at: int, by: int) -> None:
    raw = bytearray(encode_gadget_record(RECORD))
    if 8 <= at < 12:
        return  # the generation: a copy that says another is another copy
    raw[at] ^= by
    with pytest.raises(DocumentError):
        decode_gadget_record(bytes(raw))


@given(st.integers(0, 500))
def test_record_that_is_cut_short_is_none(length: int) -> None:
    raw = encode_gadget_record(RECORD)
    with pytest.raises(DocumentError):
        decode_gadget_record(raw[:min(length, len(raw) - 1)])


@given(st.binary(max_size=200))
def test_noise_is_none(raw: bytes) -> None:
    with pytest.raises(DocumentError):
        decode_gadget_record(raw)


@pytest.mark.parametrize("body", [[], {}, {"installed": None}, {"installed": {}, "trial": None},
                                  {"installed": None, "trial": {"gadget": None}}, "x", None])
def test_right_checksum_over_something_else_is_none(body: object) -> None:
    raw = json.dumps(body).encode()
    with pytest.raises(DocumentError, match="not one of ours"):
        decode_gadget_record(struct.pack("<4s4I", b"IKGR", 1, 1, len(raw), zlib.crc32(raw)) + raw)


def test_another_format_is_refused() -> None:
    raw = bytearray(encode_gadget_record(RECORD))
    raw[4] = 2
    with pytest.raises(DocumentError, match="format 2, this program knows 1"):
        decode_gadget_record(bytes(raw))


def test_record_that_fits_no_copy_is_refused() -> None:
    with pytest.raises(DocumentError, match="at most"):
        encode_gadget_record(replace(RECORD, installed=replace(ONE, proof=b"x" * GADGET_SIZE)))


def test_newer_of_two_copies_counts_and_the_other_is_written_next() -> None:
    older, newer = RECORD, following(replace(RECORD, trial=None))
    raw = encode_gadget_record(older), encode_gadget_record(newer)
    assert newest_gadget(raw) == (newer, 0)
    assert newest_gadget(raw[::-1]) == (newer, 1)
    assert newest_gadget((raw[0], raw[1][:-1])) == (older, 1)
    assert newest_gadget((b"", raw[1])) == (newer, 0)
    assert newest_gadget((b"", b"")) == (NO_RECORD, 0)


def test_generations_run_in_a_circle() -> None:
    last = replace(RECORD, generation=(1 << 32) - 1)
    first = following(last)
    assert first.generation == 0
    assert newest_gadget((encode_gadget_record(last), encode_gadget_record(first))) == (first, 0)


@pytest.mark.parametrize(("slot", "roots", "end"), [
    (Slot.B, (TRIAL.base_root, TRIAL.kernel_root), End.KEPT),
    (Slot.A, (TRIAL.base_root, TRIAL.kernel_root), End.TAKEN_BACK),
    (Slot.B, ("2b" * 32, TRIAL.kernel_root), End.TAKEN_BACK), (Slot.B, (TRIAL.base_root, "2c" * 32), End.TAKEN_BACK),
])
def test_trial_is_kept_only_where_what_it_came_with_is_healthy(slot: Slot, roots: tuple[str, str], end: End) -> None:
    assert end_of(TRIAL, slot, roots) is end


def test_record_after_a_trial() -> None:
    assert ended(RECORD, End.KEPT) == GadgetRecord(generation=8, installed=TWO, trial=None)
    assert ended(RECORD, End.TAKEN_BACK) == GadgetRecord(generation=8, installed=ONE, trial=None)
    assert ended(replace(RECORD, installed=None), End.TAKEN_BACK).installed is None
