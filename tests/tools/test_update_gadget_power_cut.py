"""The power is cut after every write of a gadget's update, and of the end of its trial: every boot file is whole.

What happens to the disk is as in `test_update_power_cut`; here only the calls from the gadget's step on are cut, and
those by which a healthy boot keeps or takes back what came. At each cut the firmware must find every boot file whole,
old or new, and once the device has booted, its files are those of the revision that its record says is installed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.boot.gadgetrecord import (
    GADGET_OFFSETS,
    GADGET_SIZE,
    End,
    GadgetRecord,
    decode_gadget_record,
    encode_gadget_record,
    end_of,
    ended,
    newest_gadget,
)
from imagekit.boot.slotstate import Slot
from imagekit.device.gadget_steps import settle_gadget
from imagekit.disk.fat_read import read_fat
from imagekit.powercut.disk import CutDisk as SectorDisk
from imagekit.powercut.examine import Examiner
from imagekit.powercut.sweep import Found, Limits, Sweep
from imagekit.units import SECTOR
from tests.tools.update_bugs import Over, Planted
from tests.tools.update_cut import carry_out
from tests.tools.update_disk import CutDisk, Draw, Op, after_cut, all_of_it, drawn, none_of_it
from tests.tools.update_log import LoggedDisk, disk_of
from tests.tools.update_oracle import DiskState, boot_until_healthy
from tests.tools.update_rig import BOOT, GADGET_LOADERS, SYSTEMD_BOOT, U_BOOT, Maker, Rig, gadget_files, make

pytestmark = pytest.mark.tools

DRAWS: dict[str, Callable[[int], Draw]] = {
    "none": lambda at: none_of_it, "all": lambda at: all_of_it,
    "drawn": lambda at: drawn(str(at)),
}


class Broken(AssertionError):
    """A boot file is neither old nor new, or the record lies."""


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Maker]:
    found = {}
    for loader in GADGET_LOADERS:
        found[loader] = made = make(tmp_path_factory.mktemp("makers") / loader, loader)
        made.build()
        made.gadget(2)
    return found


@dataclass(kw_only=True)
class Cut:
    """A device's disk before some operations, and those."""

    before: DiskState
    ops: list[Op]

    def states(self) -> Iterator[tuple[str, DiskState]]:
        """The disk after each cut, with its name; equal ones once."""
        seen = set()
        for count in range(len(self.ops) + 1):
            for name, draw in DRAWS.items():
                state = after_cut(self.before, self.ops[:count], draw(count))
                key = hash((*state.partitions.values(), *sorted(state.esp.items())))
                if key not in seen:
                    seen.add(key)
                    yield f"{count} of {len(self.ops)}, {name}", state

    def sweep(self) -> set[tuple[str, int]]:
        """Boot from every state. The slots and installed gadgets that came of it. Raises: Broken."""
        came = set()
        for name, state in self.states():
            check_whole(state, name)
            slot, state = settled(state)
            came.add((slot.value, check_record(state, name)))
        return came


def settled(state: DiskState) -> tuple[Slot, DiskState]:
    """Boot until a slot is healthy, which ends the trial of a gadget, as the health check does it."""
    slot, roots = boot_until_healthy(state)
    record = record_of(state)
    if record.trial is None:
        return slot, state
    disk = CutDisk(state)
    settle_gadget(record, end_of(record.trial, slot, roots), disk, state_partition="slot-state")
    return slot, disk.now


def record_of(state: DiskState) -> GadgetRecord:
    raw = state.partitions["slot-state"]
    return newest_gadget([raw[offset:offset + GADGET_SIZE] for offset in GADGET_OFFSETS])[0]


def check_whole(state: DiskState, name: str) -> None:
    for asset, raw in state.assets().items():
        if raw not in (gadget_files(1)[asset], gadget_files(2)[asset]):
            raise Broken(f"cut after {name}: {asset} is neither the old nor the new one")


def check_record(state: DiskState, name: str) -> int:
    """The revision that is installed."""
    record = record_of(state)
    assert record.trial is None
    revision = record.installed.revision if record.installed else 1
    if any(raw != gadget_files(revision)[asset] for asset, raw in state.assets().items()):
        raise Broken(f"cut after {name}: gadget {revision} is said to be installed, and a boot file is another's")
    return revision


def updated(maker: Maker, folder: Path, bug: Planted | None = None) -> Cut:
    """An update of the gadget alone, from where its step begins: what comes before is others' business."""
    rig = Rig(folder / "device", maker.image, maker.loader)
    stick = maker.stick(folder / "stick", maker.workshop.packages / "pc_2.snap")
    disk = CutDisk(rig.disk_state())
    before = disk.now.copy()
    carry_out(rig, stick, disk, bug or Planted(loader=maker.loader))
    partition = BOOT[maker.loader]
    first = next(at for at, op in enumerate(disk.ops) if op.where == partition and op.kind in ("write", "umount"))
    return Cut(before=after_cut(before, disk.ops[:first], all_of_it), ops=disk.ops[first:])


def end_of_trial(maker: Maker, folder: Path, end: End) -> Cut:
    """The end of its trial."""
    rig = Rig(folder / "device", maker.image, maker.loader)
    rig.install(maker.stick(folder / "stick", maker.workshop.packages / "pc_2.snap"))
    disk = CutDisk(rig.disk_state())
    before = disk.now.copy()
    record = record_of(before)
    assert record.trial is not None
    if end is End.TAKEN_BACK:
        for item in (before, disk.now):
            close_slot(item, Slot.B)
    settle_gadget(record, end, disk, state_partition="slot-state")
    return Cut(before=before, ops=disk.ops)


def close_slot(state: DiskState, slot: Slot) -> None:
    """The slot that was on trial has had its tries."""
    if state.loader == SYSTEMD_BOOT:
        state.esp = {path: raw for path, raw in state.esp.items() if f"imagekit-{slot.value}" not in path}
    else:
        name = f"boot-{slot.value}"
        state.partitions[name] = bytes(4096) + state.partitions[name][4096:]


@pytest.mark.parametrize("loader", GADGET_LOADERS)
def test_cut_at_every_write_of_the_gadget_leaves_whole_boot_files_and_a_true_record(
    makers: dict[str, Maker], tmp_path: Path, loader: str
) -> None:
    cut = updated(makers[loader], tmp_path)
    assert len(cut.ops) > 8
    assert cut.sweep() == {("a", 1), ("b", 2)}


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("loader", GADGET_LOADERS)
def test_cut_at_every_write_of_the_end_of_a_trial_ends_it_the_same_way(makers: dict[str, Maker], tmp_path: Path,
                                                                       loader: str, end: End) -> None:
    assert end_of_trial(makers[loader], tmp_path, end).sweep() == {("b", 2) if end is End.KEPT else ("a", 1)}


def test_nothing_stays_taken_after_a_trial(makers: dict[str, Maker], tmp_path: Path) -> None:
    """Its tables of clusters are those of a device fresh from the factory."""
    cut = end_of_trial(makers[U_BOOT], tmp_path, End.TAKEN_BACK)
    fresh = Rig(tmp_path / "fresh", makers[U_BOOT].image, U_BOOT).disk_state()
    after = after_cut(cut.before, cut.ops, all_of_it)
    end = read_fat(io.BytesIO(fresh.partitions["boot"])).geometry.data_start
    assert after.partitions["boot"][:end] == fresh.partitions["boot"][:end]
    assert cut.before.partitions["boot"][:end] != fresh.partitions["boot"][:end]


def swept(maker: Maker, folder: Path, bug: Planted) -> Found:
    """The whole update, recorded and judged in sectors, as a recording of QEMU is."""
    rig = Rig(folder / "device", maker.image, maker.loader)
    stick = maker.stick(folder / "stick", maker.workshop.packages / "pc_2.snap")
    image = disk_of(rig, maker.image, folder / "before.img")
    logged = LoggedDisk(image, folder / "now.img")
    carry_out(rig, stick, logged, bug)
    logged.finish()
    new = gadget_files(2)
    brought = {path: hashlib.sha256(new[name]).hexdigest() for path, name in (
        ("EFI/BOOT/BOOTX64.EFI", "systemd-bootx64.efi"), ("loader/loader.conf", "loader.conf"),
        ("startup.nsh", "startup.nsh"))}
    disk = SectorDisk(image.read_bytes(), logged.log, size=image.stat().st_size)
    return Sweep(disk, logged.requests(), Examiner(disk, brought=brought), Limits(lost=1)).run()


def test_cut_at_every_sector_of_the_whole_update_boots_and_finds_whole_boot_files(makers: dict[str, Maker],
                                                                                  tmp_path: Path) -> None:
    found = swept(makers[SYSTEMD_BOOT], tmp_path, Planted(loader=SYSTEMD_BOOT))
    assert not found.unbootable, found.problems
    assert {item.verdict.slot for item in found.classes} == {"a", "b"}
    assert found.sampled == 0


def test_boot_files_that_are_not_flushed_are_found_in_sectors_too(makers: dict[str, Maker], tmp_path: Path) -> None:
    found = swept(makers[SYSTEMD_BOOT], tmp_path, Planted(loader=SYSTEMD_BOOT, medium=Unflushed))
    assert found.unbootable
    assert any("on the boot partition is not what it was" in problem for _, problem in found.problems)


# ---- planted bugs

class Unflushed(Over):
    """The boot partition is never flushed."""

    def flush(self, partition: str) -> None:
        if partition not in BOOT.values():
            self.medium.flush(partition)


class InPlace(Over):
    """New bytes go over the old ones, as `cp` does it."""

    def write(self, partition: str, offset: int, data: bytes) -> None:
        if partition in BOOT.values():
            with self.medium.read_back(partition) as stream:
                volume = read_fat(stream)
                (old,) = volume.locate("u-boot.bin")
            if offset > volume.geometry.data_start:
                self.medium.write(partition, old.start or 0, data[:SECTOR])
        self.medium.write(partition, offset, data)


class RecordedEarly(Over):
    """The record says that the new gadget is installed, before a boot has shown it."""

    record: bytes = b""

    def write(self, partition: str, offset: int, data: bytes) -> None:
        if partition == "slot-state":
            self.record, self.other = data, sum(GADGET_OFFSETS) - offset
        elif self.record:
            early = encode_gadget_record(ended(decode_gadget_record(self.record), End.KEPT))
            self.medium.write("slot-state", self.other, early)
            self.medium.flush("slot-state")
            self.record = b""
        self.medium.write(partition, offset, data)


BUGS = {
    "the boot files are not flushed before their entries": Planted(loader=SYSTEMD_BOOT, medium=Unflushed),
    "a boot file is overwritten in place": Planted(loader=U_BOOT, medium=InPlace),
    "the gadget counts as installed before its boot files are there": Planted(loader=U_BOOT, medium=RecordedEarly),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(makers: dict[str, Maker], tmp_path: Path, bug: str) -> None:
    cut = updated(makers[BUGS[bug].loader], tmp_path, BUGS[bug])
    with pytest.raises(Broken):
        cut.sweep()
