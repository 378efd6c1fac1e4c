"""The power is cut after every write of an update: what boots is whole, and the update can be made again.

Each update is recorded once, on a fresh device and on one with two good slots; then every prefix of what it wrote is
taken as the disk, with the unflushed rest there, absent or in between. The oracle starts each such disk until a slot is
healthy, and refuses a slot that the loader may start and that is not whole. Planted bugs show that it would be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from imagekit.boot.entries import ENTRY_FOLDER
from imagekit.boot.oracle import Lost, Unverified
from imagekit.device.install import look, plan_with_spare
from imagekit.device.install_steps import Job, execute
from imagekit.device.offers import open_offers
from imagekit.plan.update import PartPlan, Source, Step, UpdatePlan
from imagekit.testing.documents import NOW
from tests.tools.update_disk import CutDisk, Draw, Op, after_cut, all_of_it, drawn, none_of_it
from tests.tools.update_oracle import DiskState, boot_until_healthy, check_offered
from tests.tools.update_rig import LOADERS, SYSTEMD_BOOT, U_BOOT, Maker, Rig, make

pytestmark = pytest.mark.tools

SEEDS = 4
DRAWS: dict[str, Callable[[int], Draw]] = {
    "none": lambda at: none_of_it, "all": lambda at: all_of_it,
    **{f"drawn {seed}": lambda at, seed=seed: drawn(f"{at}/{seed}") for seed in range(SEEDS)},
}
Change = Callable[[UpdatePlan], UpdatePlan]


class Recording:
    """An update of a device as it was recorded: the disk before, the operations, and how to make it again."""

    def __init__(self, rig: Rig, stick: Path, *, change: Change = lambda plan: plan,
                 disk: type[CutDisk] = CutDisk) -> None:
        self.rig, self.stick = rig, stick
        self.before = rig.disk_state()
        self.disk = disk(self.before)
        with open_offers([stick]) as offers:
            found = look(rig.machine, offers, now=NOW)
            plan = plan_with_spare(rig.machine, found, again=False)
            assert plan is not None
            self.plan = change(plan)

            def open_part(part: PartPlan) -> AbstractContextManager[BinaryIO]:
                if part.source is Source.PACKAGE:
                    return offers.packages[part.name, part.revision].open(most=part.size)
                return rig.device(f"{part.part}-{rig.slot.value}").open("rb")

            execute(Job(plan=self.plan, medium=self.disk, open_part=open_part, say=lambda line: None))

    @property
    def ops(self) -> list[Op]:
        return self.disk.ops

    def states(self) -> Iterator[tuple[str, DiskState]]:
        """The disk after each cut, with its name; equal ones once."""
        seen: set[tuple[object, ...]] = set()
        for count in range(len(self.ops) + 1):
            for name, draw in DRAWS.items():
                state = after_cut(self.before, self.ops[:count], draw(count))
                key = (*state.partitions.values(), *sorted(state.esp.items()))
                mark = (hash(key),)
                if mark not in seen:
                    seen.add(mark)
                    yield f"{count} of {len(self.ops)} operations, {name}", state


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Maker]:
    found = {}
    for loader in LOADERS:
        found[loader] = made = make(tmp_path_factory.mktemp(loader), loader)
        made.build()
        for revision in (2, 3):
            made.base(revision)
            made.kernel(revision)
    return found


def prepared(maker: Maker, folder: Path, *, lived: bool) -> tuple[Rig, Path]:
    """A device fresh from the factory, or one with two good slots; and a stick with a newer pair."""
    rig = Rig(folder / "device", maker.image, maker.loader)
    number = 2
    if lived:
        rig.install(maker.stick(folder / "first", *(maker.workshop.packages / f"{name}_2.snap"
                                                    for name in ("debian-13", "pc-kernel"))))
        rig.up()
        number = 3
    return rig, maker.stick(folder / "stick", *(maker.workshop.packages / f"{name}_{number}.snap"
                                                for name in ("debian-13", "pc-kernel")))


@pytest.mark.parametrize("lived", [False, True], ids=["fresh", "two good slots"])
@pytest.mark.parametrize("loader", LOADERS)
def test_cut_after_every_write_boots_a_whole_slot(makers: dict[str, Maker], tmp_path: Path, loader: str,
                                                  lived: bool) -> None:
    recording = Recording(*prepared(makers[loader], tmp_path, lived=lived))
    slots = set()
    count = 0
    for name, state in recording.states():
        try:
            check_offered(state)
            slots.add(boot_until_healthy(state)[0])
        except (Unverified, Lost) as error:
            raise AssertionError(f"cut after {name}: {error}") from error
        count += 1
    assert slots == {recording.plan.running, recording.plan.slot}, "the cuts reach from before the commit to after it"
    assert count > len(recording.ops)
    kinds = {op.kind for op in recording.ops}
    assert {"write", "flush", "record"} <= kinds


@pytest.mark.parametrize("lived", [False, True], ids=["fresh", "two good slots"])
@pytest.mark.parametrize("loader", LOADERS)
def test_update_that_was_cut_is_made_again(makers: dict[str, Maker], tmp_path: Path, loader: str, lived: bool) -> None:
    recording = Recording(*prepared(makers[loader], tmp_path, lived=lived))
    rig, goal = recording.rig, {item.part: item.root for item in recording.plan.parts}
    again = 0
    for count in range(len(recording.ops) + 1):
        rig.take(after_cut(recording.before, recording.ops[:count], drawn(f"again {count}")))
        rig.up()
        if rig.roots != goal:
            assert rig.install(recording.stick).installed
            rig.up()
            again += 1
        assert rig.roots == goal, f"after a cut at operation {count}"
        assert rig.install(recording.stick).plan is None
    assert again > len(recording.ops) // 2


# --- planted bugs: each is one that somebody has shipped


class NoFlush(CutDisk):
    """The packages are written and never flushed."""

    def flush(self, partition: str) -> None:
        if not partition.startswith(("base", "kernel")):
            super().flush(partition)


class RunningRenamed(CutDisk):
    """The running slot's entry is made one on trial, so that it may be replaced."""

    def remove(self, path: str) -> None:
        super().remove(path)
        self._spoil()

    def create(self, path: str, content):  # type: ignore[no-untyped-def]
        super().create(path, content)
        self._spoil()

    def _spoil(self) -> None:
        for path in [path for path in self.now.esp if path.startswith(ENTRY_FOLDER) and path.endswith(("a.conf",
                                                                                                        "b.conf"))]:
            self.rename(path, path.replace(".conf", "+1.conf"))
            self.sync_folder(ENTRY_FOLDER)


class NoImageFlush(CutDisk):
    """The kernel image is written and never flushed."""

    def sync_file(self, path: str) -> None:
        if not path.endswith("kernel.efi"):
            super().sync_file(path)


class VolumeAtOnce(CutDisk):
    """The FAT image is written from its first block on, in one go."""

    def flush(self, partition: str) -> None:
        if not partition.startswith("boot"):
            super().flush(partition)


def early(*steps: Step) -> Change:
    """The plan with these steps first: the switch before the data."""
    return lambda plan: replace(plan, steps=(*steps, *(step for step in plan.steps if step not in steps)))


def without(*left_out: Step) -> Change:
    return lambda plan: replace(plan, steps=tuple(step for step in plan.steps if step not in left_out))


BUGS: dict[str, tuple[str, type[CutDisk], Change]] = {
    "packages are not flushed": (SYSTEMD_BOOT, NoFlush, lambda plan: plan),
    "packages are not flushed, U-Boot": (U_BOOT, NoFlush, lambda plan: plan),
    "the kernel image is not flushed": (SYSTEMD_BOOT, NoImageFlush, lambda plan: plan),
    "the running slot's entry is renamed": (SYSTEMD_BOOT, RunningRenamed, lambda plan: plan),
    "the switch comes before the data": (SYSTEMD_BOOT, CutDisk, early(Step.TRIAL, Step.OPEN)),
    "the boot files come before the packages, and the trial": (U_BOOT, CutDisk,
                                                               early(Step.FORGET, Step.KERNEL, Step.BOOT_FILES,
                                                                     Step.TRIAL)),
    "the idle slot's entry stays while it is written": (SYSTEMD_BOOT, CutDisk, without(Step.CLOSE)),
    "the idle slot's FAT image stays while it is written": (U_BOOT, CutDisk, without(Step.CLOSE)),
    "the idle slot is closed after its base is written": (SYSTEMD_BOOT, CutDisk, early(Step.FORGET, Step.BASE)),
    "the FAT image is not flushed": (U_BOOT, VolumeAtOnce, lambda plan: plan),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(makers: dict[str, Maker], tmp_path: Path, bug: str) -> None:
    loader, disk, change = BUGS[bug]
    recording = Recording(*prepared(makers[loader], tmp_path, lived=True), change=change, disk=disk)
    with pytest.raises((Unverified, Lost)):
        for _, state in recording.states():
            check_offered(state)
            boot_until_healthy(state)
