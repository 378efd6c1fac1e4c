"""Look at an image before it is written: its size, its block map, its partition table; and make the plan for media.

Decides which file beside the image is its block map, and what stands in for one that is missing: then everything is
written. Whether the image may be trusted is not decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from imagekit.disk import gpt
from imagekit.disk.bmap import Bmap, MappedRange, decode_bmap
from imagekit.disk.gpt_move import Pieces, move_table
from imagekit.disk.mbr_sectors import sectors_of
from imagekit.errors import DocumentError
from imagekit.flash.source import Source, plain_name
from imagekit.host.files import read_file
from imagekit.plan.flash import FlashPlan, ImageFacts, TargetPlan, cut, plan_flash, plan_target
from imagekit.plan.flash_device import Allowed, Device, Kind, judge
from imagekit.plan.manifest import ranges_digest
from imagekit.units import MIB

BMAP_SUFFIX = ".bmap"
MOST_BMAP = 64 * MIB
RUN = 64 * MIB  # what counts as a range where no block map says so


def look(path: Path, source: Source) -> ImageFacts:
    """The facts of an image.

    Raises:
        DocumentError: its block map is damaged or another image's; its partition table contradicts itself.
    """
    with source.stream() as stream:
        table = _table(stream, path)
        mbr_sectors = sectors_of(stream) if table is None else ()
    beside = block_map_of(path)
    if beside is not None:
        bmap = decode_bmap(read_file(beside, limit=MOST_BMAP), name=str(beside))
        if bmap.image_size != source.size:
            raise DocumentError(f"cannot use {beside}: it is for an image of {bmap.image_size} bytes, {path} has"
                                f" {source.size}", hint="take the block map that was built with the image")
        _check_head(bmap, table, beside)
        return ImageFacts(path=str(path), size=source.size, ranges=bmap.ranges, table=table,
                          digest=ranges_digest(bmap.ranges), mbr_sectors=mbr_sectors)
    found = path.stat()
    known_by = f"{path.resolve()} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    name = hashlib.sha256(known_by.encode(errors="surrogateescape")).hexdigest()
    return ImageFacts(path=str(path), size=source.size, digest=name, table=table, mapped=False, mbr_sectors=mbr_sectors,
                      ranges=tuple(MappedRange(start=start, end=end, sha256="")
                                   for start, end in cut(0, source.size, RUN)))


def block_map_of(path: Path) -> Path | None:
    """The block map beside an image, compressed or not; None: there is none."""
    names = (path.name + BMAP_SUFFIX, plain_name(path).name + BMAP_SUFFIX)
    return next((beside for beside in map(path.with_name, names) if beside.is_file()), None)


def _check_head(bmap: Bmap, table: gpt.Table | None, beside: Path) -> None:
    """Raises: DocumentError: the map leaves out what every medium needs, and an empty one would pass for written."""
    first = bmap.ranges[0] if bmap.ranges else None
    if first is None:
        raise DocumentError(f"cannot use {beside}: it maps nothing", hint="make it again with bmaptool")
    if table is not None and (first.start or first.end < 2 * table.sector):
        raise DocumentError(f"cannot use {beside}: it leaves out the image's partition table",
                            hint="take the block map that was built with the image")


def _table(stream: object, path: Path) -> gpt.Table | None:
    try:
        return gpt.decode(stream)  # type: ignore[arg-type]  # a reader is a BinaryIO
    except DocumentError as error:
        if error.hint:  # there is a table, and it does not fit
            raise DocumentError(f"cannot use {path}: {error.message}", hint=error.hint,
                                details=error.details) from error
        return None


def make_plan(image: ImageFacts, source: Source, devices: Iterable[Device], allowed: Allowed) -> FlashPlan:
    """The whole plan, with every refusal."""
    return plan_flash(image, [_target(image, source, device, allowed) for device in devices])


def _target(image: ImageFacts, source: Source, device: Device, allowed: Allowed) -> TargetPlan:
    patches: Pieces = ()
    if image.table is not None and device.kind is not Kind.FILE and device.identity.size > image.size:
        with source.stream() as stream:
            patches = move_table(stream, image.table, device.identity.size)
    return plan_target(image, device, patches=patches, refusals=judge(device, image.demand, allowed))
