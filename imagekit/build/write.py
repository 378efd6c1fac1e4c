"""Carry out the writes of an image plan: every package read once, hashed over the very bytes that land on the disk.

Decides nothing: offsets, sources, digests and roots are the plan's. The image is a sparse file; whatever is not
written reads as zeros. Of a package, SHA3-384 and the hash tree are made while it is copied, and its compressed form is
unpacked beside it and compared, so that the seed holds the same package. What is copied out of a package afterwards
(the kernel for the ESP) is read back from the image, from bytes that have been proved.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from imagekit.digests import CHUNK, b64url
from imagekit.disk.bmap import MappedRange, block_ranges
from imagekit.disk.ext4 import used_ranges
from imagekit.disk.verity import TreeBuilder, salt_for, uuid_for
from imagekit.errors import DocumentError, HostError, TrustError
from imagekit.host.ports import Progress, Tools
from imagekit.packages.erofs import Erofs
from imagekit.plan.image import ImagePlan
from imagekit.plan.resolve import ResolvedPackage
from imagekit.plan.writes import Copy, Literal, MakeExt4, PackageMember, PackageWrite, SeedFile
from imagekit.units import BLOCK, iec

MAX_WINDOW = 1 << 27  # of a compressed package: 128 MiB is the most that zstd makes without being asked
AGAIN = "the file changed after it was signed: fetch or pack it again"


class ImageFile:
    """The image while it is written: a file descriptor and the plan's size."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.fchmod(self._descriptor, 0o644)
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """All of `content` at `offset`."""
        view = memoryview(content)
        while view:
            done = os.pwrite(self._descriptor, view, offset)
            view, offset = view[done:], offset + done

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`."""
        return os.pread(self._descriptor, length, offset)

    def chunks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`."""
        while start < end:
            chunk = self.read(start, min(CHUNK, end - start))
            if not chunk:
                raise DocumentError(f"cannot read {self.path}: it ends at byte {start}")
            yield chunk
            start += len(chunk)

    def stream(self) -> BinaryIO:
        """A reader over the whole image; closing it leaves the image open."""
        return open(self._descriptor, "rb", closefd=False)

    def flush(self) -> None:
        """Wait until the bytes are on the disk."""
        os.fdatasync(self._descriptor)


def full_disk(error: OSError, path: Path, needed: int) -> HostError:
    """What a failed write means to a user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        why = {errno.EFBIG: "the file would be larger than allowed", errno.EDQUOT: "the quota is used up"}
        return HostError(f"cannot write {path}: {why.get(error.errno or 0, 'no space left on the disk')}",
                         hint=f"the image needs {iec(needed)}; make room, or name another folder with -o")
    return HostError(f"cannot write {path}: {error.strerror}")


def write_image(plan: ImagePlan, image: ImageFile, *, tools: Tools, progress: Progress) -> tuple[MappedRange, ...]:
    """Write everything of the plan, and tell what is mapped.

    Raises:
        TrustError: a package is not the signed one, or its hash tree has another root than was signed.
        DocumentError: a compressed package holds something else than the package.
        HostError: a tool is missing or fails.
        OSError: the disk is full, or another failure of the system.
    """
    for package in plan.resolution.packages:
        progress.step(f"write {package.file_name}", total=package.file.size)
        PackagePass(plan, package, image).run(progress)
    progress.step("write boot files, seed and tables")
    for write in plan.writes:
        if isinstance(write, Literal):
            image.write(write.offset, write.content)
        elif isinstance(write, Copy) and isinstance(write.source, PackageMember):
            copy_member(plan, image, write, write.source)
        elif isinstance(write, MakeExt4):
            make_ext4(image, write, plan.timestamp, tools=tools)
    return map_ranges(plan, image, progress=progress)


class PackagePass:
    """One reading of one package file: into its slot if it has one, its compressed form into the seed."""

    def __init__(self, plan: ImagePlan, package: ResolvedPackage, image: ImageFile) -> None:
        self._package = package
        self._image = image
        self._slot = next((write for write in plan.writes if isinstance(write, PackageWrite)
                           and write.package == package.file_name), None)
        self._seed = next((write for write in plan.writes if isinstance(write, Copy)
                           and isinstance(write.source, SeedFile) and write.source.package == package.file_name), None)

    def run(self, progress: Progress) -> None:
        """Read, write, and prove. Raises: see `write_image`."""
        path, signed = Path(self._package.file.path), self._package.revision
        digest = hashlib.sha3_384()
        tree = TreeBuilder(salt=salt_for(signed.snap_sha3_384), uuid=uuid_for(signed.snap_sha3_384))
        position = 0
        differs: int | None = None
        with path.open("rb", buffering=0) as stream, _Unpacked(self._package, self._seed, self._image) as unpacked:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                if self._slot is not None:
                    if position + len(chunk) > self._slot.size:
                        break
                    self._image.write(self._slot.offset + position, chunk)
                    tree.update(chunk)
                if differs is None and not unpacked.same(chunk):
                    differs = position
                position += len(chunk)
                progress.advance(len(chunk))
            ended = unpacked.ended()
        found = b64url(digest.digest())
        if position != signed.snap_size or found != signed.snap_sha3_384:
            raise TrustError(
                f"cannot use {path}: it has {position} bytes with SHA3-384 {found}, signed as revision"
                f" {signed.snap_revision} are {signed.snap_size} with {signed.snap_sha3_384}", hint=AGAIN)
        if differs is not None or not ended:
            raise DocumentError(f"cannot use {self._package.file.seed_path}: it does not unpack to {path.name}"
                                + (f", first in the MiB at byte {differs}" if differs is not None else ""),
                                hint="pack it again; imagekit pack writes both")
        if self._slot is not None:
            self._finish_slot(self._slot, tree)

    def _finish_slot(self, slot: PackageWrite, tree: TreeBuilder) -> None:
        made = tree.finish()
        if made.root_hash != slot.root_hash:
            raise TrustError(
                f"cannot use {self._package.file.path}: its hash tree has the root {made.root_hash}, signed is"
                f" {slot.root_hash}", hint="its snap-revision states a wrong verity-root: sign the package again")
        self._image.write(slot.offset + slot.size, made.tree)


class _Unpacked:
    """The compressed form of a package: copied into the image as it is read, and unpacked to be compared."""

    def __init__(self, package: ResolvedPackage, seed: Copy | None, image: ImageFile) -> None:
        self._path = package.file.seed_path
        self._seed = seed
        self._image = image
        self._position = 0
        self._stream: io.FileIO | None = None
        self._reader: BinaryIO | None = None

    def __enter__(self) -> _Unpacked:
        if self._seed is not None:
            import zstandard

            self._stream = io.FileIO(self._path)
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
            self._reader = cast(BinaryIO, decompressor.stream_reader(
                cast(BinaryIO, self), read_size=CHUNK // 4, read_across_frames=True, closefd=False))
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def read(self, size: int) -> bytes:
        """What the decompressor asks for; on its way the bytes land in the image."""
        assert self._stream is not None and self._seed is not None
        chunk = self._stream.read(min(size, self._seed.length - self._position + 1)) or b""
        if self._position + len(chunk) > self._seed.length:
            raise DocumentError(f"cannot use {self._path}: it grew while it was read", hint=AGAIN)
        self._image.write(self._seed.offset + self._position, chunk)
        self._position += len(chunk)
        return chunk

    def same(self, chunk: bytes) -> bool:
        """Whether the next bytes unpack to `chunk`. Raises: DocumentError: it is no zstd."""
        return self._reader is None or self._unpack(len(chunk)) == chunk

    def ended(self) -> bool:
        """Whether everything has been unpacked and copied."""
        if self._reader is None or self._seed is None:
            return True
        return self._unpack(1) == b"" and self._position == self._seed.length

    def _unpack(self, length: int) -> bytes:
        import zstandard

        assert self._reader is not None
        try:
            return self._reader.read(length)
        except zstandard.ZstdError as error:
            raise DocumentError(f"cannot use {self._path}: not valid zstd: {error}",
                                hint="pack it again; imagekit pack writes both") from error


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
    file system grows on the device.
    """
    seconds = str(int(timestamp.timestamp()))
    extended = (f"offset={write.offset},hash_seed={write.hash_seed},root_owner=0:0,lazy_itable_init=1,"
                "lazy_journal_init=1,nodiscard")
    tools.run("mke2fs", "-q", "-F", "-t", "ext4", "-T", "default", "-b", str(BLOCK), "-I", "256", "-i", "16384",
              "-m", "0", "-L", write.label, "-U", str(write.uuid), "-E", extended, image.path,
              f"{write.length // 1024}k", env={"SOURCE_DATE_EPOCH": seconds, "E2FSPROGS_FAKE_TIME": seconds})


def map_ranges(plan: ImagePlan, image: ImageFile, *, progress: Progress) -> tuple[MappedRange, ...]:
    """Every block that means something, joined within its structure, with the SHA-256 of what the file now holds."""
    ranges = mapped_blocks(plan, image)
    progress.step("hash what is mapped", total=sum(end - start for start, end in ranges))
    result = []
    for start, end in ranges:
        digest = hashlib.sha256()
        for chunk in image.chunks(start, end):
            digest.update(chunk)
            progress.advance(len(chunk))
        result.append(MappedRange(start=start, end=end, sha256=digest.hexdigest()))
    return tuple(result)


def mapped_blocks(plan: ImagePlan, image: ImageFile) -> list[tuple[int, int]]:
    """The mapped ranges in whole blocks, ascending, from what the plan wrote and from what ext4 says that it uses."""
    borders = sorted({0, *(item.placement.start for item in plan.structures),
                      *(item.placement.end for item in plan.structures)})
    groups: dict[int, list[tuple[int, int]]] = {}
    for start, end in _pieces(plan, image):
        groups.setdefault(bisect_right(borders, start), []).append((start, end))
    ranges: list[tuple[int, int]] = []
    for _, pieces in sorted(groups.items()):
        for start, end in block_ranges(pieces, plan.disk_size):
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
