"""Carry out the writes of an image plan: every package read once, hashed over the very bytes that land on the disk.

Decides nothing: offsets, sources, digests and roots are the plan's. Of a package, SHA3-384 and the hash tree are made
while it is copied; its compressed form is `imagekit.build.seed`'s. What is copied out of a package afterwards (the
kernel for the ESP) is read back from the image, from bytes that have been proved.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from imagekit.build.facts import SLOTS, recall, remember
from imagekit.build.imagefile import ImageFile, pieces
from imagekit.build.seed import write_seed
from imagekit.digests import b64url, short
from imagekit.disk.bmap import MappedRange, block_ranges
from imagekit.disk.ext4 import used_ranges
from imagekit.disk.verity import TreeBuilder, salt_for, uuid_for
from imagekit.errors import TrustError
from imagekit.host.cache import Cache
from imagekit.host.ports import Progress, Tools
from imagekit.packages.erofs import Erofs
from imagekit.plan.image import ImagePlan
from imagekit.plan.resolve import ResolvedPackage
from imagekit.plan.writes import Copy, Literal, MakeExt4, PackageMember, PackageWrite, SeedFile
from imagekit.units import BLOCK


def write_image(plan: ImagePlan, image: ImageFile, *, tools: Callable[[], Tools], cache: Cache,
                progress: Progress) -> tuple[MappedRange, ...]:
    """Write everything of the plan, and tell what is mapped.

    Raises:
        TrustError: a package is not the signed one, or its hash tree has another root than was signed.
        DocumentError: a compressed package is none.
        HostError: a tool is missing or fails.
        OSError: the disk is full, or another failure of the system.
    """
    known: list[MappedRange] = []
    for package in plan.resolution.packages:
        progress.step(f"write {package.file_name}", total=package.file.size)
        slot, seed = write_package(plan, package, image, cache=cache, progress=progress), seed_of(plan, package)
        known += [slot] if slot is not None else []
        if seed is not None:
            known.append(write_seed(image, seed, package, cache=cache))
    progress.step("write boot files, seed and tables")
    for write in plan.writes:
        if isinstance(write, Literal):
            image.write(write.offset, write.content)
        elif isinstance(write, Copy) and isinstance(write.source, PackageMember):
            copy_member(plan, image, write, write.source)
        elif isinstance(write, MakeExt4):
            make_ext4(image, write, plan.timestamp, tools=tools())
    return map_ranges(plan, image, known, progress=progress)


def write_package(plan: ImagePlan, package: ResolvedPackage, image: ImageFile, *, cache: Cache,
                  progress: Progress) -> MappedRange | None:
    """Read a package once: into its slot, if it has one, and through the hashes; what the slot then holds.

    Raises:
        TrustError: see `write_image`.
    """
    path, what = Path(package.file.path), "signed" if package.asserted else "planned"
    slot = slot_of(plan, package)
    fact = recall(cache, SLOTS, package.sha3_384)
    digest, written = hashlib.sha3_384(), hashlib.sha256()
    tree = TreeBuilder(salt=salt_for(package.sha3_384), uuid=uuid_for(package.sha3_384))
    position = 0
    with path.open("rb", buffering=0) as stream:
        for chunk in pieces(stream, package.size + 1):
            digest.update(chunk)
            if slot is not None and position + len(chunk) <= slot.size:
                image.write(slot.offset + position, chunk)
                tree.update(chunk)
                if fact is None:
                    written.update(chunk)
            position += len(chunk)
            progress.advance(len(chunk))
    found = b64url(digest.digest())
    if position != package.size or found != package.sha3_384:
        raise TrustError(
            f"cannot use {path}: it has {min(position, package.file.size)} bytes with SHA3-384 {short(found)},"
            f" {what} as revision {package.number} are {package.size} with {short(package.sha3_384)}",
            hint="the file changed after it was signed: fetch or pack it again")
    if slot is None:
        return None
    made = tree.finish()
    if made.root_hash != slot.root_hash:
        raise TrustError(
            f"cannot use {path}: its hash tree has the root {short(made.root_hash)}, {what} is"
            f" {short(slot.root_hash)}",
            hint="its snap-revision states a wrong verity-root: sign the package again")
    image.write(slot.offset + slot.size, made.tree)
    if fact is None:
        written.update(made.tree)
        fact = written.hexdigest()
        remember(cache, SLOTS, package.sha3_384, fact)
    return MappedRange(start=slot.offset, end=slot.offset + slot.length, sha256=fact)


def slot_of(plan: ImagePlan, package: ResolvedPackage) -> PackageWrite | None:
    """Where a package lies whole on the disk."""
    return next((write for write in plan.writes if isinstance(write, PackageWrite)
                 and write.package == package.file_name), None)


def seed_of(plan: ImagePlan, package: ResolvedPackage) -> Copy | None:
    """Where its compressed form lies."""
    return next((write for write in plan.writes if isinstance(write, Copy)
                 and isinstance(write.source, SeedFile) and write.source.package == package.file_name), None)


def copy_member(plan: ImagePlan, image: ImageFile, write: Copy, source: PackageMember) -> None:
    """Copy a file out of a package that lies proved in its slot."""
    slot = next(item for item in plan.writes if isinstance(item, PackageWrite) and item.package == source.package)
    with image.stream() as stream:
        extents = Erofs(stream, name=source.package, offset=slot.offset).extents(source.path)
    if sum(extent.length for extent in extents) != source.size:
        raise TrustError(f"cannot use {source.package}: {source.path} has another size than when it was planned",
                         hint="the file changed while it was read: build again")
    target = write.offset
    for extent in extents:
        if extent.start is not None:
            position = target
            for chunk in image.chunks(extent.start, extent.start + extent.length):
                image.write(position, chunk)
                position += len(chunk)
        target += extent.length


def make_ext4(image: ImageFile, write: MakeExt4, timestamp: datetime, *, tools: Tools) -> None:
    """Make an empty ext4 in place, by mke2fs: ids, seed and times given, nothing of the host in it.

    What mke2fs leaves unwritten here is zeros in the sparse file. The inode ratio is that of a large disk, since the
    file system grows on the device. A twentieth is left to root: whatever else fills it, an update comes in.
    """
    seconds = str(int(timestamp.timestamp()))
    extended = (f"offset={write.offset},hash_seed={write.hash_seed},root_owner=0:0,lazy_itable_init=1,"
                "lazy_journal_init=1,nodiscard")
    tools.run("mke2fs", "-q", "-F", "-t", "ext4", "-T", "default", "-b", str(BLOCK), "-I", "256", "-i", "16384",
              "-m", "5", "-L", write.label, "-U", str(write.uuid), "-E", extended, image.path,
              f"{write.length // 1024}k", env={"SOURCE_DATE_EPOCH": seconds, "E2FSPROGS_FAKE_TIME": seconds})


def map_ranges(plan: ImagePlan, image: ImageFile, known: Sequence[MappedRange], *,
               progress: Progress) -> tuple[MappedRange, ...]:
    """Every block that means something, with the SHA-256 of what the file holds there, ascending.

    `known` are ranges whose digest was made while they were written; the others are joined within their structure.
    """
    usable = [item for item in known if item.start % BLOCK == 0]
    rest = mapped_blocks(plan, image, usable)
    taken = [item for item in usable if not any(start < item.end and item.start < end for start, end in rest)]
    if len(taken) < len(usable):  # clusters below 4096 bytes let two files share a block
        taken, rest = [], mapped_blocks(plan, image, [])
    progress.step("hash what is mapped", total=sum(end - start for start, end in rest))
    result = [*taken]
    for start, end in rest:
        digest = hashlib.sha256()
        for chunk in image.chunks(start, end):
            digest.update(chunk)
            progress.advance(len(chunk))
        result.append(MappedRange(start=start, end=end, sha256=digest.hexdigest()))
    return tuple(sorted(result, key=lambda item: item.start))


def mapped_blocks(plan: ImagePlan, image: ImageFile, known: Sequence[MappedRange]) -> list[tuple[int, int]]:
    """The mapped ranges but for the known, in whole blocks: what the plan wrote, and what ext4 says that it uses."""
    borders = sorted({0, *(item.placement.start for item in plan.structures),
                      *(item.placement.end for item in plan.structures)})
    begun = {item.start for item in known}
    groups: dict[int, list[tuple[int, int]]] = {}
    for start, end in _pieces(plan, image):
        if start not in begun:
            groups.setdefault(bisect_right(borders, start), []).append((start, end))
    ranges: list[tuple[int, int]] = []
    for _, group in sorted(groups.items()):
        for start, end in block_ranges(group, plan.disk_size):
            first = max(start, ranges[-1][1]) if ranges else start  # structures may share a block at their border
            if first < end:
                ranges.append((first, end))
    return ranges


def _pieces(plan: ImagePlan, image: ImageFile) -> Iterator[tuple[int, int]]:
    for write in plan.writes:
        if isinstance(write, MakeExt4):
            with image.stream() as stream:
                for start, end in used_ranges(stream, write.offset):
                    yield write.offset + start, write.offset + end
        else:
            yield write.offset, write.offset + write.length
