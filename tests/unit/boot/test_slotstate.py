"""The record's bytes, its two copies, and its transitions."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.slotstate import (
    COPY_OFFSETS,
    FACTORY,
    LIMIT,
    RECORD_SIZE,
    Slot,
    SlotState,
    begin_boot,
    begin_trial,
    counted_boot,
    decode_record,
    encode_partition,
    encode_record,
    forget_other,
    is_newer,
    mark_healthy,
    newest,
    stay,
)
from imagekit.errors import DocumentError

BYTES = st.integers(min_value=0, max_value=255)
STATES = st.builds(
    SlotState, generation=st.integers(min_value=0, max_value=2**32 - 1), slot=st.sampled_from(Slot), tries=BYTES,
    confirmed=st.booleans(), unhealthy=BYTES, other_good=st.booleans(),
)


def sealed(raw: bytes) -> bytes:
    """`raw` with a checksum that fits."""
    return raw[:508] + zlib.crc32(raw[:508]).to_bytes(4, "little")


def test_factory_record_has_the_documented_bytes() -> None:
    raw = encode_record(FACTORY)
    assert len(raw) == RECORD_SIZE
    assert raw[:14] == b"IKS1" + bytes([1, 0, 0, 0, 0, 0, 1, 0, 0, 1])
    assert raw[14:508] == bytes(494)
    assert int.from_bytes(raw[508:], "little") == zlib.crc32(raw[:508])


@given(STATES)
def test_every_record_is_read_back(state: SlotState) -> None:
    assert decode_record(encode_record(state)) == state


@pytest.mark.parametrize("size", [0, 1, 13, 508, 511])
def test_record_cut_short_is_refused(size: int) -> None:
    with pytest.raises(DocumentError, match="cannot read the slot-state record"):
        decode_record(encode_record(FACTORY)[:size])


@pytest.mark.parametrize("bit", range(0, RECORD_SIZE * 8, 37))
def test_flipped_bit_is_refused(bit: int) -> None:
    raw = bytearray(encode_record(FACTORY))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DocumentError):
        decode_record(bytes(raw))


@pytest.mark.parametrize(("offset", "value"), [(8, 2), (10, 2), (12, 255), (13, 0), (13, 2)])
def test_value_out_of_range_is_refused_though_its_checksum_fits(offset: int, value: int) -> None:
    raw = bytearray(encode_record(FACTORY))
    raw[offset] = value
    with pytest.raises(DocumentError):
        decode_record(sealed(bytes(raw)))


def test_fresh_partition_has_one_copy_and_the_second_is_written_next() -> None:
    raw = encode_partition(FACTORY)
    copies = tuple(raw[offset:offset + RECORD_SIZE] for offset in COPY_OFFSETS)
    assert newest((copies[0], copies[1])) == (FACTORY, 1)


@given(STATES, STATES)
def test_newer_copy_counts_and_the_other_is_written_next(first: SlotState, second: SlotState) -> None:
    state, copy = newest((encode_record(first), encode_record(second)))
    if is_newer(second.generation, first.generation):
        assert (state, copy) == (second, 0)
    else:
        assert (state, copy) == (first, 1)


@given(STATES, STATES)
def test_torn_copy_leaves_the_other_one(old: SlotState, fresh: SlotState) -> None:
    torn = encode_record(fresh)[:200] + encode_record(old)[200:]
    if torn not in (encode_record(old), encode_record(fresh)):
        assert newest((encode_record(old), torn)) == (old, 1)
        assert newest((torn, encode_record(old))) == (old, 0)


def test_lost_record_is_no_record() -> None:
    assert newest((bytes(512), bytes(512))) == (None, 0)


def test_generation_wraps_around() -> None:
    last = replace(FACTORY, generation=2**32 - 1)
    after = begin_boot(last, Slot.A).record
    assert after.generation == 0
    assert newest((encode_record(last), encode_record(after))) == (after, 0)


def test_boot_of_the_confirmed_slot_raises_unhealthy_and_health_clears_it() -> None:
    first = begin_boot(FACTORY, Slot.A)
    assert first.record == replace(FACTORY, generation=2, unhealthy=1)
    assert mark_healthy(first.record) == replace(FACTORY, generation=3)


def test_slot_that_never_gets_healthy_hands_over_after_three_boots() -> None:
    state = replace(FACTORY, other_good=True)
    for boot in range(1, LIMIT + 1):
        step = begin_boot(state, Slot.A)
        assert not step.hand_over
        state = step.record
        assert state.unhealthy == boot
    step = begin_boot(state, Slot.A)
    assert step.hand_over
    assert (step.record.slot, step.record.unhealthy, step.record.confirmed) == (Slot.B, 0, True)
    assert step.record.other_good, "a slot that has gone bad is still a last resort"


def test_two_bad_slots_alternate_three_boots_each() -> None:
    state: SlotState | None = replace(FACTORY, other_good=True)
    here, booted = Slot.A, []
    for _ in range(20):
        step = begin_boot(state, here)
        state = step.record
        if step.hand_over:
            here = here.other
        else:
            booted.append(here.value)
    assert "".join(booted[:12]) == "aaabbbaaabbb"


def test_slot_without_a_way_back_tries_on_for_ever() -> None:
    state = FACTORY
    for _ in range(600):
        step = begin_boot(state, Slot.A)
        assert not step.hand_over
        state = step.record
    assert state.unhealthy == 255


def test_hand_over_that_cannot_be_done_gives_three_more_boots() -> None:
    bad = replace(FACTORY, other_good=True, unhealthy=3)
    assert begin_boot(bad, Slot.A).hand_over
    stayed = stay(bad, Slot.A)
    assert stayed.unhealthy == 1
    assert stayed.other_good
    assert not begin_boot(stayed, Slot.A).hand_over


def test_loader_that_chose_the_other_slot_turns_the_record_around() -> None:
    step = begin_boot(FACTORY, Slot.B)
    assert step.record == SlotState(
        generation=2, slot=Slot.B, tries=0, confirmed=False, unhealthy=1, other_good=True
    )


def test_trial_is_counted_down_and_ends_confirmed() -> None:
    state = begin_trial(replace(FACTORY, generation=5))
    assert state == SlotState(generation=6, slot=Slot.B, tries=3, confirmed=False, unhealthy=0, other_good=True)
    state = begin_boot(state, Slot.B).record
    assert (state.tries, state.unhealthy) == (2, 1)
    state = mark_healthy(state)
    assert (state.slot, state.tries, state.confirmed, state.other_good) == (Slot.B, 0, True, True)


def test_failed_trial_leads_back_and_its_slot_is_no_refuge() -> None:
    state = begin_trial(FACTORY)
    for _ in range(3):
        state = begin_boot(state, Slot.B).record
    state = begin_boot(state, Slot.A).record
    assert (state.slot, state.confirmed, state.other_good, state.unhealthy) == (Slot.A, True, False, 1)


def test_trial_in_an_empty_slot_that_the_loader_skips_is_not_counted_against_the_good_one() -> None:
    state = begin_boot(begin_trial(FACTORY), Slot.A).record
    assert (state.slot, state.confirmed, state.unhealthy) == (Slot.A, True, 1)


def test_slot_about_to_be_overwritten_is_no_refuge() -> None:
    state = forget_other(replace(FACTORY, other_good=True))
    assert not state.other_good
    assert not begin_boot(replace(state, unhealthy=200), Slot.A).hand_over


def test_lost_record_boots_on_and_hands_over_nowhere() -> None:
    step = begin_boot(None, Slot.B)
    assert not step.hand_over
    assert step.record == SlotState(
        generation=1, slot=Slot.B, tries=0, confirmed=False, unhealthy=1, other_good=False
    )


@given(STATES | st.none(), st.sampled_from(Slot))
def test_boot_never_confirms_and_always_moves_on(state: SlotState | None, booted: Slot) -> None:
    step = begin_boot(state, booted)
    good_before = {state.slot: state.confirmed, state.slot.other: state.other_good} if state else {}
    record = step.record
    assert record.slot is (booted.other if step.hand_over else booted)
    assert record.confirmed == good_before.get(record.slot, False)
    assert record.other_good == good_before.get(record.slot.other, False)
    assert state is None or is_newer(record.generation, state.generation)
    if step.hand_over:
        assert record.confirmed, "a hand-over leads to a slot that was healthy once"


@given(STATES, st.sampled_from(Slot), st.booleans())
def test_loader_that_counts_is_counted_for_only_where_it_could_not_write(state: SlotState, booted: Slot,
                                                                         left: bool) -> None:
    """`left`: the boot before left this very record."""
    seen = state.generation if left else (state.generation - 1) % 2**32
    found = counted_boot(state, booted, seen=seen)
    if state.slot is booted and state.unhealthy and not left:
        assert found is None
        return
    assert found is not None
    assert found.slot is booted
    assert found.unhealthy == (min(state.unhealthy + 1, 255) if state.slot is booted else 1)
    assert found.tries == (max(state.tries - 1, 0) if state.slot is booted else 0)
    assert is_newer(found.generation, state.generation)
    assert counted_boot(found, booted, seen=state.generation) is None


@pytest.mark.parametrize(("confirmed", "other_good", "first"), [(True, True, True), (True, False, False),
                                                                (False, True, False), (False, False, False)])
def test_slot_that_came_up_for_a_confirmed_one_is_ranked_first_if_it_was_healthy_once(confirmed: bool, other_good: bool,
                                                                                      first: bool) -> None:
    state = replace(FACTORY, confirmed=confirmed, other_good=other_good, unhealthy=LIMIT)
    step = begin_boot(state, Slot.B)
    assert (step.rank_first, step.hand_over) == (first, False)
    assert not begin_boot(replace(state, unhealthy=0), Slot.A).rank_first
    assert not begin_boot(None, Slot.B).rank_first
