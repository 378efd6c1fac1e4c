"""The count of boots in vain, and the boot that does without the data partition."""

from __future__ import annotations

import pytest

from imagekit.boot.ledger import IN_VAIN, LEDGER_OFFSET, LEDGER_SIZE, decode_ledger, encode_ledger, leaves_data_out
from imagekit.boot.slotstate import COPY_OFFSETS, LIMIT, RECORD_SIZE


@pytest.mark.parametrize("begun", [0, 1, 6, 255, 256, 2**32 - 1])
def test_count_comes_back_from_its_bytes(begun: int) -> None:
    raw = encode_ledger(begun)
    assert len(raw) == LEDGER_SIZE
    assert decode_ledger(raw) == begun


def test_every_changed_bit_counts_as_nothing_begun() -> None:
    raw = encode_ledger(6)
    for at in range(8 * LEDGER_SIZE):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        assert decode_ledger(bytes(changed)) == 0


@pytest.mark.parametrize("raw", [b"", bytes(LEDGER_SIZE), b"IKL1", encode_ledger(3)[:-1], encode_ledger(3) + b"x"])
def test_what_is_no_ledger_counts_as_nothing_begun(raw: bytes) -> None:
    assert decode_ledger(raw) == 0


def test_ledger_lies_behind_the_record() -> None:
    assert COPY_OFFSETS[1] + RECORD_SIZE <= LEDGER_OFFSET


def test_both_slots_had_their_boots_before_data_is_left_out_and_again_before_it_is_the_next_time() -> None:
    assert IN_VAIN == 2 * LIMIT
    assert [begun for begun in range(30) if leaves_data_out(begun)] == [7, 14, 21, 28]
