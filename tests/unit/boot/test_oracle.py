"""Loader, initrd and health check one after the other, until a slot is healthy or nothing is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagekit.boot.entries import LoaderEntry, encode_entry, entry_name, kernel_path
from imagekit.boot.oracle import (
    SYSTEMD_BOOT,
    U_BOOT,
    Bootable,
    Lost,
    Roots,
    Unverified,
    check_offered,
    offered,
    recover,
)
from imagekit.boot.slotstate import FACTORY, Slot, begin_trial, encode_record, mark_healthy
from imagekit.errors import ExitCode

ROOTS: dict[Slot, Roots] = {Slot.A: ("a" * 64, "c" * 64), Slot.B: ("b" * 64, "d" * 64)}


def entry(slot: Slot, version: int) -> bytes:
    base, kernel = ROOTS[slot]
    return encode_entry(LoaderEntry(slot=slot, version=version, base_root=base, kernel_root=kernel, cmdline="quiet",
                                    state_partuuid="00000000-0000-4000-8000-000000000000"))


def pc(*, trial: bool) -> Bootable:
    """A PC fresh from the factory, or with slot b on trial."""
    record = begin_trial(FACTORY) if trial else FACTORY
    entries = {entry_name(Slot.A): entry(Slot.A, 1)}
    if trial:
        entries[entry_name(Slot.B, tries=3)] = entry(Slot.B, 2)
    return Bootable(loader=SYSTEMD_BOOT, copies=(encode_record(record), bytes(512)), entries=entries,
                    programs=frozenset(kernel_path(slot) for slot in Slot))


def accept(slot: Slot, roots: Roots) -> None:
    assert roots == ROOTS[slot]


def test_factory_slot_boots_and_is_confirmed() -> None:
    found = recover(pc(trial=False), accept)
    assert (found.slot, found.roots, len(found.boots)) == (Slot.A, ROOTS[Slot.A], 1)
    assert found.after.record is not None
    assert found.after.record.unhealthy == 0


def test_trial_that_is_healthy_loses_its_counter() -> None:
    found = recover(pc(trial=True), accept)
    assert found.slot is Slot.B
    assert set(found.after.entries) == {entry_name(Slot.A), entry_name(Slot.B)}


def test_sick_trial_is_told_three_times_and_the_old_slot_comes_back() -> None:
    told: list[tuple[Slot, bool]] = []
    found = recover(pc(trial=True), accept, sick=lambda roots: roots == ROOTS[Slot.B],
                    told=lambda boot, healthy: told.append((boot.slot, healthy)))
    assert found.slot is Slot.A
    assert told == [(Slot.B, False)] * 3 + [(Slot.A, True)]


def test_confirmed_slot_that_rots_hands_over() -> None:
    both = recover(pc(trial=True), accept).after
    found = recover(both, accept, sick=lambda roots: roots == ROOTS[Slot.B])
    assert found.slot is Slot.A
    assert [boot.handed_over for boot in found.boots] == [False, False, False, True, False]


def test_slot_that_is_not_whole_is_an_error_when_it_is_offered() -> None:
    def refuse(slot: Slot, roots: Roots) -> None:
        if slot is Slot.B:
            raise Unverified("slot b is not whole")

    with pytest.raises(Unverified) as caught:
        check_offered(pc(trial=True), refuse)
    assert caught.value.exit_code is ExitCode.TARGET
    with pytest.raises(Unverified):
        recover(pc(trial=True), refuse)
    check_offered(pc(trial=False), refuse)


def test_damaged_entry_in_the_menu_is_an_error_and_an_empty_one_is_not_in_it() -> None:
    disk = pc(trial=False)
    empty = disk.with_entries({**disk.entries, entry_name(Slot.B): b""})
    assert [slot for slot, _ in offered(empty)] == [Slot.A]
    half = disk.with_entries({**disk.entries, entry_name(Slot.B): entry(Slot.B, 2)[:200]})
    with pytest.raises(Unverified, match=r"imagekit-b\.conf"):
        list(offered(half))


def test_empty_menu_and_unsound_slots_are_lost() -> None:
    with pytest.raises(Lost):
        recover(pc(trial=False).with_entries({}), accept)
    with pytest.raises(Lost):
        recover(Bootable(loader=U_BOOT, copies=(encode_record(FACTORY), bytes(512))), accept)
    with pytest.raises(Lost):
        recover(pc(trial=False), accept, sick=lambda roots: True)


def test_uboot_takes_the_slot_of_the_record_and_goes_back_after_its_tries() -> None:
    disk = Bootable(loader=U_BOOT, copies=(encode_record(begin_trial(mark_healthy(FACTORY))), bytes(512)), sound=ROOTS)
    assert recover(disk, accept).slot is Slot.B
    back = recover(disk, accept, sick=lambda roots: roots == ROOTS[Slot.B])
    assert [boot.slot for boot in back.boots] == [Slot.B, Slot.B, Slot.B, Slot.A]
    assert recover(replace(disk, sound={Slot.A: ROOTS[Slot.A]}), accept).slot is Slot.A
