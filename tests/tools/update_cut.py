"""An update carried out over a medium of a test: on a device fresh from the factory, or on one that has lived."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from imagekit.device.install import know, prepare
from imagekit.device.install_steps import Job, execute
from imagekit.device.medium import Medium
from imagekit.device.offers import open_offers
from imagekit.disk.fat_read import read_fat
from imagekit.disk.fat_swap import plan_sweep
from imagekit.plan.update import PartPlan, Source, UpdatePlan
from imagekit.testing.documents import NOW
from tests.tools.update_bugs import Planted
from tests.tools.update_oracle import DiskState
from tests.tools.update_rig import LOADERS, SYSTEMD_BOOT, Maker, Rig, make
from tests.tools.update_vfat import Vfat


def carry_out(rig: Rig, stick: Path, medium: Medium, bug: Planted) -> UpdatePlan:
    """Plan the update as the device does, and execute it with a bug; what was planned."""
    with open_offers([stick]) as offers:
        plan = prepare(rig.machine, know(rig.machine, now=NOW), offers).plan
        assert plan is not None
        plan = bug.change(plan)

        def open_part(part: PartPlan) -> AbstractContextManager[BinaryIO]:
            if part.source is Source.PACKAGE:
                return offers.packages[part.name, part.revision].open(most=part.size)
            return rig.device(f"{part.part}-{rig.slot.value}").open("rb")

        execute(Job(plan=plan, medium=bug.over(medium), open_part=open_part, say=lambda line: None))
    return plan


def makers_in(folder: Path) -> dict[str, Maker]:
    """For each loader what makes packages, with an image and two newer pairs."""
    found = {}
    for loader in LOADERS:
        found[loader] = made = make(folder / loader, loader)
        made.build()
        for revision in (2, 3):
            made.base(revision)
            made.kernel(revision)
    return found


def prepared(maker: Maker, folder: Path, *, lived: bool) -> tuple[Rig, Path]:
    """A device fresh from the factory, or one with two good slots, its ESP with lost clusters; and a newer pair."""
    rig = Rig(folder / "device", maker.image, maker.loader)
    number = 2
    if lived:
        rig.install(maker.stick(folder / "first", *(maker.workshop.packages / f"{name}_2.snap"
                                                    for name in ("debian-13", "pc-kernel"))))
        rig.up()
        number = 3
    if maker.loader == SYSTEMD_BOOT:
        lose_clusters(rig.device("esp"))
    return rig, maker.stick(folder / "stick", *(maker.workshop.packages / f"{name}_{number}.snap"
                                                for name in ("debian-13", "pc-kernel")))


def lose_clusters(esp: Path) -> None:
    """Three clusters of a FAT are taken, and nothing reaches them."""
    volume = Vfat(esp.read_bytes(), lambda sector, data: None)
    volume.lose(3)
    volume.sync_all()
    esp.write_bytes(volume.cache)


def lost_on(state: DiskState) -> bool:
    """Whether the ESP has clusters that nothing reaches."""
    unmounted = state.copy()
    unmounted.unmount()
    return bool(plan_sweep(read_fat(io.BytesIO(unmounted.partitions["esp"]))))
