"""Power is cut at every write of an update, a boot, a blessing and a hand-over: afterwards a healthy slot comes up.

The device here is made of the real parts that can run without one: the loader's model, the record's transitions, the
blessing on a folder, the record on a file. A write is cut in each way its medium allows: not begun, torn, done.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.boot.entries import LoaderEntry, encode_entry, entry_name, kernel_path, parse_entry, sector_with_version
from imagekit.boot.slotstate import (
    FACTORY,
    Slot,
    SlotState,
    begin_boot,
    begin_trial,
    forget_other,
    mark_healthy,
    stay,
)
from imagekit.boot.systemd_boot import choose, slot_of
from imagekit.device.esp import bless, trial_entry
from tests.unit.device.cut_device import (
    BOTH,
    ONLY_A,
    ONLY_B,
    WAYS,
    CutDevice,
    booted,
    confirm_both,
    cut_everywhere,
    cut_in_series,
    updated,
)

PROGRAMS = frozenset(kernel_path(slot) for slot in Slot)


class Device(CutDevice):
    """A device with two slots, booted by systemd-boot's model."""

    def __init__(self, folder: Path, *, good: frozenset[Slot], state: SlotState = FACTORY) -> None:
        self.esp = folder
        self.entries = folder / "loader/entries"
        self.entries.mkdir(parents=True)
        super().__init__(folder, good=good, state=state)
        self._put(Slot.A, version=1)

    def update(self, *, tries: int | None = 3) -> None:
        """What an updater does around filling slot b: no way back to it, content, record, entry last."""
        self.store(forget_other(self.state))
        self.store(begin_trial(self.state))
        self.write(lambda: self._put(Slot.B, version=2, tries=tries), torn=self._torn_entry)

    def boot(self) -> Slot | None:
        """One start, until a healthy verdict or the next reset. Returns the slot that got healthy."""
        files = {path.name: path.read_bytes() for path in self.entries.iterdir()}
        choice = choose(files, PROGRAMS)
        assert choice, "the loader's menu is empty"
        chosen = choice.entry.file_name
        if choice.renamed_to != chosen:
            self.write(lambda: (self.entries / chosen).rename(self.entries / choice.renamed_to))
        slot = slot_of(chosen)
        assert slot
        if not self._initrd(slot) or slot not in self.good:
            return None
        return self._health(slot)

    def _initrd(self, slot: Slot) -> bool:
        state = self.partition.load()
        step = begin_boot(state, slot)
        if step.hand_over:
            other = self.entries / entry_name(slot.other)
            if other.is_file():
                self.write(lambda: self._prefer(other))
                self.store(step.record)
                return False
            step = type(step)(record=stay(state, slot), hand_over=False)
        if step.rank_first and (own := self.entries / entry_name(slot)).is_file():
            self.write(lambda: self._prefer(own))
        self.store(step.record)
        return True

    def _prefer(self, path: Path) -> None:
        ranks = [parse_entry(item.read_bytes(), name=item.name).version for item in self.entries.iterdir()
                 if item.stat().st_size]
        raw = path.read_bytes()
        path.write_bytes(sector_with_version(raw[:512], max(ranks) + 1) + raw[512:])

    def _health(self, slot: Slot) -> Slot:
        if trial_entry(self.entries, slot):
            self.write(lambda: bless(slot, esp=self.esp, programs=None), torn=lambda: self._lose_trial(slot))
        assert self.state.slot is slot
        self.store(mark_healthy(self.state))
        return slot

    def _lose_trial(self, slot: Slot) -> None:
        """The worst that vfat was seen to do in the middle of a rename: the new name is empty, the old one gone."""
        bless(slot, esp=self.esp, programs=None)
        (self.entries / entry_name(slot)).write_bytes(b"")

    def _torn_entry(self) -> None:
        (self.entries / entry_name(Slot.B, tries=3)).write_bytes(b"")

    def _put(self, slot: Slot, *, version: int, tries: int | None = None) -> None:
        raw = encode_entry(LoaderEntry(
            slot=slot, version=version, base_root="0" * 64, kernel_root="1" * 64, cmdline="quiet",
            state_partuuid="00000000-0000-4000-8000-000000000000",
        ))
        (self.entries / entry_name(slot, tries=tries)).write_bytes(raw)

    def check_settled(self, slot: Slot) -> None:
        assert trial_entry(self.entries, slot) is None


def both_confirmed(folder: Path, good: frozenset[Slot]) -> Device:
    return confirm_both(Device(folder, good=BOTH), good)


def test_update_to_a_good_slot_arrives_without_a_power_cut(tmp_path: Path) -> None:
    device = Device(tmp_path, good=BOTH)
    device.update()
    assert device.boot() is Slot.B
    assert (device.entries / "imagekit-b.conf").is_file()


def test_bad_update_gets_three_boots_and_then_the_old_slot_is_back(tmp_path: Path) -> None:
    device = Device(tmp_path, good=ONLY_A)
    device.update()
    assert [device.boot() for _ in range(4)] == [None, None, None, Slot.A]


def test_rot_in_the_confirmed_slot_ends_in_the_other_after_three_boots(tmp_path: Path) -> None:
    device = both_confirmed(tmp_path, ONLY_A)
    assert [device.boot() for _ in range(5)] == [None, None, None, None, Slot.A]
    assert device.until_healthy() is Slot.A


def test_two_rotten_slots_are_both_tried_again_and_the_one_that_recovers_is_found(tmp_path: Path) -> None:
    device = both_confirmed(tmp_path, frozenset())
    assert {device.boot() for _ in range(23)} == {None}
    device.good = ONLY_A
    assert device.until_healthy() is Slot.A


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("good", [BOTH, ONLY_A], ids=["good", "bad"])
def test_cut_at_every_write_of_an_update(tmp_path: Path, good: frozenset[Slot], way: str) -> None:
    assert cut_everywhere(lambda at: Device(tmp_path / str(at), good=good), way, updated, good) > 6


@pytest.mark.parametrize("way", WAYS)
def test_cut_at_every_write_of_a_hand_over(tmp_path: Path, way: str) -> None:
    assert cut_everywhere(lambda at: both_confirmed(tmp_path / str(at), ONLY_A), way, booted, ONLY_A) > 5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(min_value=1, max_value=9), st.sampled_from(WAYS)), max_size=8),
       good=st.sampled_from([BOTH, ONLY_A]))
def test_any_series_of_cuts_ends_in_a_healthy_slot(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, str]], good: frozenset[Slot]
) -> None:
    cut_in_series(Device(tmp_path_factory.mktemp("device"), good=good), cuts)


@pytest.mark.parametrize("damage", [b"", b"\0" * 8192, b"IKS1" * 2048])
def test_lost_record_boots_a_healthy_slot_and_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    device = both_confirmed(tmp_path, ONLY_B)
    device.partition.device.write_bytes(damage)
    assert device.until_healthy() is Slot.B
