"""Hold an image to what lies beside it: its block map, and the manifest of its build.

Neither is signed; a difference says that the image is not as it was built, not who changed it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE
from imagekit.digests import CHUNK, short
from imagekit.disk.bmap import Bmap, MappedRange, decode_bmap
from imagekit.disk.ext4 import used_ranges
from imagekit.disk.fat_read import read_fat
from imagekit.disk.probe import Content, DiskImage, DiskPartition
from imagekit.disk.verity import tree_size
from imagekit.errors import DocumentError
from imagekit.host.files import read_file
from imagekit.host.ports import Progress
from imagekit.plan.inspection import BesideFound, SeedFound
from imagekit.plan.manifest import MANIFEST, Manifest, parse_manifest, ranges_digest
from imagekit.plan.resolve import model_digest
from imagekit.units import MIB

BMAP_SUFFIX = ".bmap"
MOST = 64 * MIB
SHOWN = 3  # ranges that differ


def look_beside(path: Path, stream: BinaryIO, image: DiskImage, seed: SeedFound, *,
                progress: Progress | None, block_map: Path | None = None) -> tuple[BesideFound, ...]:
    """What is to be said of the files beside an image; with a `progress`, all mapped bytes are hashed.

    `block_map`: its block map, where that is not named after the image.
    """
    found: list[BesideFound] = []
    bmap_path = block_map or path.with_name(path.name + BMAP_SUFFIX)
    ranges: tuple[MappedRange, ...] | None = None
    if bmap_path.is_file():
        try:
            bmap = decode_bmap(read_file(bmap_path, limit=MOST), name=bmap_path.name)
            differences = list(_size(bmap, image)) or list(_left_out(stream, bmap, image))
            if progress is not None and not differences:
                ranges = _hash(stream, bmap, progress)
                differences += _differing(bmap, ranges)
            found.append(BesideFound(file=bmap_path.name, what="block map", differences=tuple(differences),
                                     checked=progress is not None))
        except DocumentError as error:
            found.append(BesideFound(file=bmap_path.name, what="block map", differences=(error.message,),
                                     checked=False))
    manifest_path = path.with_name(MANIFEST)
    if manifest_path.is_file():
        try:
            manifest = parse_manifest(read_file(manifest_path, limit=MOST), name=MANIFEST)
        except DocumentError as error:
            return (*found, BesideFound(file=MANIFEST, what="manifest", differences=(error.message,), checked=False))
        if manifest.image.file == path.name:
            found.append(BesideFound(file=MANIFEST, what="manifest", checked=ranges is not None,
                                     differences=(*_against(manifest, image, seed, ranges),
                                                  *_other_files(manifest, path.parent))))
    return tuple(found)


def _size(bmap: Bmap, image: DiskImage) -> Iterator[str]:
    if bmap.image_size != image.size:
        yield f"it is for an image of {bmap.image_size} bytes, this one has {image.size}"


def _left_out(stream: BinaryIO, bmap: Bmap, image: DiskImage) -> Iterator[str]:
    """What a device reads and the map does not have: zeros too, which a map by the holes of a file leaves out."""
    for partition in image.partitions:
        base = partition.partition.start
        gaps = (_first_gap(bmap, base + start, base + end) for start, end in _read_there(stream, partition))
        if (gap := next((gap for gap in gaps if gap is not None), None)) is not None:
            yield (f"it leaves out bytes from {gap} on, of {partition.name}: a medium that was in use would keep its"
                   " own there")


def _first_gap(bmap: Bmap, start: int, end: int) -> int | None:
    """The first byte of a span that no range has."""
    while start < end:
        index = bisect_right(bmap.ranges, start, key=lambda item: item.start) - 1
        if index < 0 or bmap.ranges[index].end <= start:
            return start
        start = bmap.ranges[index].end
    return None


def _read_there(stream: BinaryIO, item: DiskPartition) -> tuple[tuple[int, int], ...]:
    """The bytes of a partition that mean something, as far as its content says; nothing of one that is damaged."""
    start = item.partition.start
    try:
        if item.content is Content.EROFS and item.verity is not None:
            return ((0, item.package_size + tree_size(item.package_size)),)
        if item.content is Content.SLOT_STATE:
            return ((0, COPY_OFFSETS[1] + RECORD_SIZE),)
        if item.content is Content.FAT:
            return ((0, read_fat(stream, start, name=item.name).geometry.data_start),)
        return used_ranges(stream, start) if item.content is Content.EXT4 else ()
    except DocumentError:
        return ()


def _hash(stream: BinaryIO, bmap: Bmap, progress: Progress) -> tuple[MappedRange, ...]:
    """The map's ranges with the digests that the image has now."""
    progress.step("read what is mapped", total=sum(item.end - item.start for item in bmap.ranges))
    found = []
    for item in bmap.ranges:
        digest, left = hashlib.sha256(), item.end - item.start
        stream.seek(item.start)
        while left and (chunk := stream.read(min(left, CHUNK))):
            digest.update(chunk)
            progress.advance(len(chunk))
            left -= len(chunk)
        found.append(MappedRange(start=item.start, end=item.end, sha256=digest.hexdigest()))
    return tuple(found)


def _differing(bmap: Bmap, ranges: tuple[MappedRange, ...]) -> Iterator[str]:
    differing = [item for item, now in zip(bmap.ranges, ranges, strict=True) if item.sha256 != now.sha256]
    for item in differing[:SHOWN]:
        yield f"bytes {item.start} to {item.end} of the image are not what it says"
    if len(differing) > SHOWN:
        yield f"and {len(differing) - SHOWN} more ranges"


def _against(manifest: Manifest, image: DiskImage, seed: SeedFound,
             ranges: tuple[MappedRange, ...] | None) -> Iterator[str]:
    """Where a manifest and the image differ."""
    pairs: list[tuple[str, object, object]] = [
        ("size", manifest.image.size, image.size), ("disk GUID", manifest.image.disk_guid, str(image.table.disk_guid))]
    if seed.model is not None:
        pairs += [("brand", manifest.model.brand, seed.model.brand_id),
                  ("model", manifest.model.model, seed.model.model),
                  ("digest of the model", manifest.model.digest, model_digest(seed.model))]
    stated = {(item.name, item.revision) for item in manifest.packages}
    there = {(item.name, item.revision) for item in seed.files}
    for what, says, has in pairs:
        if says != has:
            yield f"{what}: it says {_brief(says)}, the image has {_brief(has)}"
    for name, revision in sorted(stated - there):
        yield f"it lists {name} revision {revision}, which the seed has not"
    for name, revision in sorted(there - stated):
        yield f"it does not list {name} revision {revision}, which the seed has"
    if ranges is not None and ranges_digest(ranges) != manifest.image.digest:
        yield f"image digest: it says {short(manifest.image.digest)}, the image has {short(ranges_digest(ranges))}"


def _other_files(manifest: Manifest, folder: Path) -> Iterator[str]:
    """Files that the manifest lists, and that are there and not what it says; one that is elsewhere is no matter."""
    for item in manifest.files.values():
        path = folder / Path(item.file).name
        if not path.is_file():
            continue
        try:
            has = hashlib.sha256(read_file(path, limit=MOST)).hexdigest()
        except DocumentError as error:
            yield error.message
        else:
            if has != item.sha256:
                yield f"{path.name}: it says {short(item.sha256)}, the file has {short(has)}"


def _brief(value: object) -> str:
    return short(value) if isinstance(value, str) else str(value)
