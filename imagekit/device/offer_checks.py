"""What was offered, read from its first byte to its last before anything is written.

Decides whether a package's bytes are the signed ones, whether it is what it was signed as, and whether the place that
its kernel's files go to can take them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress

from imagekit.boot.entries import kernel_path
from imagekit.device.install_steps import KERNEL_IMAGE
from imagekit.device.machine import Machine
from imagekit.device.offers import Offer, Offers
from imagekit.device.partitions import Partition, partition
from imagekit.digests import b64url, chunks, short
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.errors import DocumentError, PlanError, TargetError, TrustError
from imagekit.packages.erofs import Erofs
from imagekit.packages.snapyaml import read_snap_yaml
from imagekit.plan.identity import check_identity
from imagekit.plan.piboot import ARCHITECTURE, wanted_files
from imagekit.plan.resolve import Resolution, ResolvedPackage
from imagekit.plan.update import KERNEL, PIBOOT, SYSTEMD_BOOT, BootVolume, PartPlan, Source, UpdatePlan
from imagekit.plan.writes import PackageMember
from imagekit.units import MIB, iec

SNAP_YAML = "meta/snap.yaml"
ESP_MARGIN = 1 * MIB
DESCRIPTION_MOST = 16 * 1024  # slot.env, or cmdline.txt and slot.sum


def check_offers(machine: Machine, plan: UpdatePlan, resolution: Resolution, offers: Offers,
                 partitions: dict[str, Partition]) -> None:
    """Read every package that will be written, from its first byte to its last, before anything is written.

    Raises:
        TrustError: other bytes than those that were signed.
        PlanError, DocumentError: a package for another machine, or none that a slot can take.
        TargetError: no room for its kernel image.
    """
    image = None
    for part in plan.parts:
        if part.source is Source.PACKAGE:
            offer = offers.packages[part.name, part.revision]
            check_bytes(offer, part)
            resolved = next(item for item in resolution.packages if item.name == part.name)
            sizes = _check_inside(offer, part, resolved, resolution, plan)
            image = sizes if part.part == KERNEL else image
    if plan.gadget is not None and plan.gadget.in_slot and plan.part(KERNEL).source is not Source.PACKAGE:
        _check_beside(plan, partitions)
    if plan.loader != SYSTEMD_BOOT:
        return
    if image is None:
        with suppress(OSError):
            image = (machine.package / KERNEL_IMAGE).stat().st_size
    beside = sum(len(item.content) for item in plan.gadget.assets) if plan.gadget is not None else 0
    _check_room(machine, plan, (image or 0) + beside)


def check_bytes(offer: Offer, part: PartPlan) -> None:
    """Raises: TrustError: size or digest are not the signed ones."""
    digest, size = hashlib.sha3_384(), 0
    with offer.open(most=part.size + 1) as stream:
        for chunk in chunks(stream):
            size += len(chunk)
            digest.update(chunk)
            if size > part.size:
                break
    if size != part.size:
        raise TrustError(f"cannot install {offer.file}: it has {'more than ' if size > part.size else ''}"
                         f"{min(size, part.size)} bytes, the signed revision {part.revision} has {part.size}",
                         hint="the file was cut short or changed: copy it again")
    found = b64url(digest.digest())
    if found != part.sha3_384:
        raise TrustError(f"cannot install {offer.file}: its SHA3-384 is {short(found)}, signed as revision"
                         f" {part.revision} is {short(part.sha3_384)}", hint="it changed after it was signed")


def _check_inside(offer: Offer, part: PartPlan, resolved: ResolvedPackage, resolution: Resolution,
                  plan: UpdatePlan) -> int:
    """Check what a package says of itself; the size of its kernel image, 0 where it has none."""
    with offer.open(most=part.size) as stream:
        tree = Erofs(stream, name=offer.file)
        if tree.size != part.size:
            raise DocumentError(f"cannot install {offer.file}: its file system has {tree.size} bytes, the file"
                                f" {part.size}")
        info = read_snap_yaml(tree.read(SNAP_YAML, limit=MIB), name=f"{offer.file} {SNAP_YAML}")
        check_identity(resolved, info, resolution.model)
        if part.part != KERNEL:
            return 0
        wanted = {KERNEL_IMAGE: KERNEL_IMAGE} if plan.volume is None else dict(plan.volume.files)
        if plan.loader == PIBOOT:
            wanted = wanted_files((entry.path for entry in tree.walk()), ARCHITECTURE)
        if missing := [path for path in wanted.values() if tree.find(path) is None]:
            raise PlanError(f"cannot install {offer.file}: it has no {missing[0]}, which this device boots from")
        sizes = {name: tree.stat(path).size for name, path in wanted.items()}
        if plan.volume is None:
            return sizes[KERNEL_IMAGE]
        _check_volume(offer.file, plan.volume, sizes)
        return 0


def _check_beside(plan: UpdatePlan, partitions: dict[str, Partition]) -> None:
    """Whether a gadget's files fit into a slot beside those of a kernel that is on the device.

    Raises:
        PlanError: they do not.
        TargetError: the kernel's partition cannot be read.
    """
    assert plan.gadget is not None
    assert plan.volume is not None
    kernel = plan.part(KERNEL)
    name = f"{KERNEL}-{(plan.slot if kernel.source is Source.KEPT else plan.running).value}"
    try:
        with partition(partitions, name).device.open("rb") as stream:
            tree = Erofs(stream, name=name)
            wanted = wanted_files((entry.path for entry in tree.walk()), ARCHITECTURE)
            sizes = {file: tree.stat(path).size for file, path in wanted.items()}
    except OSError as error:
        raise TargetError(f"cannot read {name}: {error.strerror}", hint="the disk is failing") from error
    _check_volume(plan.gadget.file, plan.volume, sizes)


def _check_volume(file: str, volume: BootVolume, sizes: Mapping[str, int]) -> None:
    """Raises: PlanError: the slot's FAT image cannot take the kernel's files of these sizes beside the gadget's."""
    sizes = {**{name: measure.size for name, measure in volume.own}, **sizes, "imagekit": DESCRIPTION_MOST}
    try:
        plan_fat(volume.size, volume.label, volume.volume_id, time=volume.time, files=[
            FatFile(path=name, source=PackageMember(package="", path="", size=size)) for name, size in sizes.items()])
    except PlanError as error:
        raise PlanError(f"cannot install {file}: its files do not fit into {volume.partition}: {error.message}",
                        hint="a smaller kernel or initrd, or less of the gadget's: it cannot grow") from error


def _check_room(machine: Machine, plan: UpdatePlan, image: int) -> None:
    """Raises: TargetError: the ESP cannot take the kernel image beside that of the running slot."""
    there = machine.esp / kernel_path(plan.slot)
    try:
        volume = os.statvfs(machine.esp)
        room = volume.f_bavail * volume.f_frsize + (there.stat().st_size if there.is_file() else 0)
    except OSError as error:
        raise TargetError(f"cannot use the ESP at {machine.esp}: {error.strerror}") from error
    if image + ESP_MARGIN > room:
        raise TargetError(f"cannot install the kernel: its image has {iec(image)}, the ESP has room for {iec(room)}",
                          hint="whatever else lies on the ESP takes the room")
