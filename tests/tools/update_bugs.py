"""Planted bugs of an update: each is one that somebody has shipped. They go over any medium, and over the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

from imagekit.boot.entries import ENTRY_FOLDER
from imagekit.device.medium import Medium
from imagekit.plan.update import Step, UpdatePlan
from tests.tools.update_rig import LOADERS, PI, SYSTEMD_BOOT, U_BOOT

Change = Callable[[UpdatePlan], UpdatePlan]


def unchanged(plan: UpdatePlan) -> UpdatePlan:
    """The plan as it is."""
    return plan


class Over:
    """A medium with everything passed on to the one below."""

    def __init__(self, medium: Medium) -> None:
        self.medium = medium

    def __getattr__(self, name: str) -> Any:
        return getattr(self.medium, name)


class NoFlush(Over):
    """The packages are written and never flushed."""

    def flush(self, partition: str) -> None:
        if not partition.startswith(("base", "kernel")):
            self.medium.flush(partition)


class RunningRenamed(Over):
    """The running slot's entry is made one on trial, so that it may be replaced."""

    def remove(self, path: str) -> None:
        self.medium.remove(path)
        self._spoil()

    def create(self, path: str, content: Iterable[bytes]) -> None:
        self.medium.create(path, content)
        self._spoil()

    def _spoil(self) -> None:
        for name in self.names(ENTRY_FOLDER):
            if name.endswith(("a.conf", "b.conf")):
                self.rename(f"{ENTRY_FOLDER}/{name}", f"{ENTRY_FOLDER}/{name.replace('.conf', '+1.conf')}")
                self.sync_folder(ENTRY_FOLDER)


class NoImageFlush(Over):
    """The kernel image is written and never flushed."""

    def sync_file(self, path: str) -> None:
        if not path.endswith("kernel.efi"):
            self.medium.sync_file(path)


class VolumeAtOnce(Over):
    """The FAT image is written from its first block on, in one go."""

    def flush(self, partition: str) -> None:
        if not partition.startswith("boot"):
            self.medium.flush(partition)


def early(*steps: Step) -> Change:
    """The plan with these steps first: the switch before the data."""
    return lambda plan: replace(plan, steps=(*steps, *(step for step in plan.steps if step not in steps)))


def without(*left_out: Step) -> Change:
    """The plan without these steps."""
    return lambda plan: replace(plan, steps=tuple(step for step in plan.steps if step not in left_out))


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A bug: for devices of one loader, in the medium's calls, in the plan's steps, or in both."""

    loader: str
    medium: type[Over] = Over
    change: Change = unchanged

    def over(self, medium: Medium) -> Medium:
        """The medium with the bug over it."""
        return cast(Medium, self.medium(medium))


NONE = {loader: Planted(loader=loader) for loader in LOADERS}


BUGS: dict[str, Planted] = {
    "packages are not flushed": Planted(loader=SYSTEMD_BOOT, medium=NoFlush),
    "packages are not flushed, U-Boot": Planted(loader=U_BOOT, medium=NoFlush),
    "the kernel image is not flushed": Planted(loader=SYSTEMD_BOOT, medium=NoImageFlush),
    "the running slot's entry is renamed": Planted(loader=SYSTEMD_BOOT, medium=RunningRenamed),
    "the switch comes before the data": Planted(loader=SYSTEMD_BOOT, change=early(Step.TRIAL, Step.OPEN)),
    "the boot files come before the packages, and the trial": Planted(
        loader=U_BOOT, change=early(Step.FORGET, Step.KERNEL, Step.BOOT_FILES, Step.TRIAL, Step.OPEN)),
    "the idle slot's entry stays while it is written": Planted(loader=SYSTEMD_BOOT, change=without(Step.CLOSE)),
    "the idle slot's FAT image stays while it is written": Planted(loader=U_BOOT, change=without(Step.CLOSE)),
    "the idle slot is closed after its base is written": Planted(
        loader=SYSTEMD_BOOT, change=early(Step.FORGET, Step.BASE)),
    "the FAT image is not flushed": Planted(loader=U_BOOT, medium=VolumeAtOnce),
    "packages are not flushed, the Pi": Planted(loader=PI, medium=NoFlush),
    "autoboot.txt names the slot before its files are there": Planted(
        loader=PI, change=early(Step.FORGET, Step.CLOSE, Step.OPEN)),
}
