"""The compressed form of a package, copied into the seed and proved to unpack to the signed package.

A squashfs has no such form: it is copied and proved as it is. What a device has no memory to unpack is refused here.
Unpacking costs as much as hashing the package again, so what was once found is remembered (`imagekit.build.facts`).
What is hashed is what was written. A device checks again when it uses the seed.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import BinaryIO, cast

from imagekit.build.facts import SEEDS, recall, remember
from imagekit.build.imagefile import ImageFile, pieces
from imagekit.digests import b64url, short
from imagekit.disk.bmap import MappedRange
from imagekit.errors import DocumentError, TrustError
from imagekit.host.cache import Cache
from imagekit.packages.forward import PACKED_WINDOW
from imagekit.plan.resolve import ResolvedPackage
from imagekit.plan.writes import Copy
from imagekit.units import BLOCK, align_up, iec

AGAIN = "pack it again; imagekit pack writes both"


def write_seed(image: ImageFile, write: Copy, package: ResolvedPackage, *, cache: Cache) -> MappedRange:
    """Copy the package, compressed, to its place, and prove it; what its blocks then hold.

    Raises:
        TrustError: it unpacks to something else than the signed package.
        DocumentError: it is not zstd, or not as long as when it was planned.
    """
    path = Path(package.file.seed_path)
    digest, own = hashlib.sha256(), hashlib.sha3_384()
    position = 0
    with path.open("rb", buffering=0) as stream:
        for chunk in pieces(stream, write.length + 1):
            position += len(chunk)
            if position > write.length:
                break
            digest.update(chunk)
            if package.file.squashfs:
                own.update(chunk)
            image.write(write.offset + position - len(chunk), chunk)
    if position != write.length:
        raise DocumentError(f"cannot use {path}: it changed while it was read", hint="build again")
    signed = package.sha3_384
    if package.file.squashfs:
        if b64url(own.digest()) != signed:
            raise TrustError(f"cannot use {path}: it has the SHA3-384 {short(b64url(own.digest()))}, revision"
                             f" {package.number} has {short(signed)}", hint="it changed while it was read: build again")
    elif recall(cache, SEEDS, digest.hexdigest()) != signed:
        found = unpacked_digest(image, write, path, most=package.size)
        if found != signed:
            raise TrustError(f"cannot use {path}: it unpacks to a SHA3-384 of {short(found)}, revision"
                             f" {package.number} of the package has {short(signed)}", hint=AGAIN)
        remember(cache, SEEDS, digest.hexdigest(), signed)
    end = align_up(write.offset + write.length, BLOCK)
    digest.update(bytes(end - write.offset - write.length))  # the rest of the last block is empty
    return MappedRange(start=write.offset, end=end, sha256=digest.hexdigest())


def unpacked_digest(image: ImageFile, write: Copy, path: Path, *, most: int) -> str:
    """SHA3-384 of what the bytes in the image unpack to, read no further than just past `most` bytes."""
    import zstandard

    digest = hashlib.sha3_384()
    decompressor = zstandard.ZstdDecompressor(max_window_size=PACKED_WINDOW)
    source = _Region(image, write.offset, write.length)
    try:
        with decompressor.stream_reader(cast(BinaryIO, source), read_across_frames=True, closefd=False) as reader:
            for chunk in pieces(cast(BinaryIO, reader), most + 1):
                digest.update(chunk)
    except zstandard.ZstdError as error:
        raise DocumentError(f"cannot use {path}: not valid zstd, or of a window above the {iec(PACKED_WINDOW)} that a"
                            f" device has: {error}", hint=AGAIN) from error
    return b64url(digest.digest())


class _Region(io.RawIOBase):
    """Bytes of the image as a stream."""

    def __init__(self, image: ImageFile, start: int, length: int) -> None:
        super().__init__()
        self._image, self._position, self._end = image, start, start + length

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._position
        chunk = self._image.read(self._position, left if size < 0 else min(size, left))
        self._position += len(chunk)
        return chunk
