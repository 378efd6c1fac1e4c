"""The dm-verity hash tree of a package: built in one pass, byte for byte what `veritysetup format` writes.

Decides the tree's parameters (they are not configurable: format 1, SHA-256, data and hash blocks of 4096 bytes) and
how salt and UUID follow from the package. Where tree and package lie on a disk is the caller's business; by the
project's rule the superblock follows the package immediately. The root hash proves integrity only as far as its own
origin is proved: that is `imagekit.assertions`.

Source: Linux Documentation/admin-guide/device-mapper/verity.rst; the superblock is cryptsetup's (the
DMVerity page of its wiki). All integers little-endian:

    superblock = "verity\\0\\0" version:u32=1 type:u32=1 uuid:16 algorithm:32 data_block:u32 hash_block:u32
                 data_blocks:u64 salt_size:u16 zero:6 salt:256 zero:168                                 ; 512 bytes
    tree       = superblock zero* level[n-1] ... level[0]           ; root level first, each padded to 4096 bytes
    level[0]   = sha256(salt data_block)*                           ; 128 digests in a block, the last zero-filled
    level[i]   = sha256(salt hash_block of level[i-1])*

One data block alone has no levels: its digest is the root hash.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

from imagekit.digests import CHUNK, derived_uuid, short
from imagekit.errors import DocumentError, TrustError
from imagekit.units import BLOCK

DIGEST = 32
FAN_OUT = BLOCK // DIGEST
MAX_SALT = 256
SUPERBLOCK = 512

_MAGIC = b"verity\0\0"
_ROOT = re.compile(r"[0-9a-fA-F]{64}\Z")
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s168x")


class BadBlock(TrustError):
    """A block is not the one its digest was made from. `offset` is its first byte in the stream."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message, hint="the bytes changed after the tree was made: write them again")
        self.offset = offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """What a reader must know to open the tree, apart from the root hash."""

    uuid: UUID
    data_blocks: int
    salt: bytes

    def encode(self) -> bytes:
        """The 512 bytes on disk."""
        return _SUPERBLOCK.pack(_MAGIC, 1, 1, self.uuid.bytes, b"sha256", BLOCK, BLOCK, self.data_blocks,
                                len(self.salt), self.salt)

    @classmethod
    def decode(cls, raw: bytes) -> Superblock:
        """Read the first 512 bytes of `raw`.

        Raises:
            DocumentError: no superblock, or one with parameters that we never write.
        """
        if len(raw) < SUPERBLOCK:
            raise DocumentError(f"cannot decode verity superblock: {len(raw)} bytes, it has {SUPERBLOCK}")
        magic, version, kind, uuid, algorithm, data, hashes, blocks, salt_size, salt = _SUPERBLOCK.unpack_from(raw)
        if magic != _MAGIC:
            raise DocumentError("cannot decode verity superblock: it does not begin with 'verity'")
        found = (version, kind, algorithm.rstrip(b"\0"), data, hashes)
        if found != (1, 1, b"sha256", BLOCK, BLOCK):
            raise DocumentError("cannot decode verity superblock: version, type, algorithm and block sizes are"
                                f" {found}, allowed is (1, 1, b'sha256', {BLOCK}, {BLOCK})")
        if salt_size > MAX_SALT:
            raise DocumentError(f"cannot decode verity superblock: salt of {salt_size} bytes, at most {MAX_SALT}")
        return cls(uuid=UUID(bytes=uuid), data_blocks=blocks, salt=salt[:salt_size])


@dataclass(frozen=True, slots=True, kw_only=True)
class HashTree:
    """`tree` is what follows the package on disk: the superblock's block and the hash blocks."""

    root_hash: str  # 64 lower-case hexadecimal digits
    tree: bytes


class TreeBuilder:
    """Takes a package's bytes in order, in pieces of any size, and yields its tree.

    Holds 32 bytes per 4096 seen, nothing else, so a pass that hashes or copies the package can feed it on the way.
    """

    def __init__(self, *, salt: bytes, uuid: UUID) -> None:
        if len(salt) > MAX_SALT:
            raise ValueError(f"salt of {len(salt)} bytes, at most {MAX_SALT}")
        self._salt = salt
        self._uuid = uuid
        self._salted = hashlib.sha256(salt)
        self._digests = bytearray()
        self._rest = bytearray()

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """The next bytes of the package."""
        view = memoryview(chunk)
        if self._rest:
            missing = BLOCK - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < BLOCK:
                return
            self._digests += _digests(self._salted, self._rest)
            self._rest.clear()
        whole = len(view) - len(view) % BLOCK
        self._digests += _digests(self._salted, view[:whole])
        self._rest += view[whole:]

    def finish(self) -> HashTree:
        """The tree of all bytes given so far.

        Raises:
            DocumentError: they are no positive multiple of 4096.
        """
        data_blocks = len(self._digests) // DIGEST
        check_size(data_blocks * BLOCK + len(self._rest))
        superblock = Superblock(uuid=self._uuid, data_blocks=data_blocks, salt=self._salt).encode()
        levels = []
        digests = self._digests
        while len(digests) > DIGEST:
            level = bytes(digests).ljust(-(-len(digests) // BLOCK) * BLOCK, b"\0")
            levels.append(level)
            digests = _digests(self._salted, level)
        return HashTree(root_hash=digests.hex(), tree=b"".join((superblock.ljust(BLOCK, b"\0"), *reversed(levels))))


def check_size(size: int) -> None:
    """Raises: DocumentError: a package of `size` bytes cannot have a tree."""
    if size <= 0 or size % BLOCK:
        raise DocumentError(f"cannot build verity tree: {size} bytes of data, it takes a positive multiple of {BLOCK}")


def _digests(salted: hashlib._Hash, blocks: bytes | bytearray | memoryview) -> bytearray:
    """The salted digest of every block, joined."""
    copy = salted.copy
    view = memoryview(blocks)
    result = bytearray()
    for start in range(0, len(view), BLOCK):
        digest = copy()
        digest.update(view[start:start + BLOCK])
        result += digest.digest()
    return result


def level_blocks(data_blocks: int) -> tuple[int, ...]:
    """How many hash blocks each level has, in the order on disk: the root's level first."""
    levels: list[int] = []
    below = data_blocks
    while below > 1:
        below = -(-below // FAN_OUT)
        levels.append(below)
    return tuple(reversed(levels))


def tree_size(size: int) -> int:
    """The length of `HashTree.tree` for a package of `size` bytes. Raises: DocumentError: see `check_size`."""
    check_size(size)
    return BLOCK * (1 + sum(level_blocks(size // BLOCK)))


def build_tree(stream: BinaryIO, size: int, *, salt: bytes, uuid: UUID) -> HashTree:
    """The tree over the next `size` bytes of `stream`.

    Raises:
        DocumentError: `size` is no positive multiple of 4096, or the stream ends before.
    """
    check_size(size)
    builder = TreeBuilder(salt=salt, uuid=uuid)
    for chunk in _exactly(stream, size):
        builder.update(chunk)
    return builder.finish()


def _exactly(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The next `size` bytes in pieces that begin at multiples of 4096."""
    left = size
    while left:
        wanted = min(CHUNK, left)
        chunk = stream.read(wanted)
        while chunk and len(chunk) < wanted:
            more = stream.read(wanted - len(chunk))
            if not more:
                break
            chunk += more
        if len(chunk) < wanted:
            raise DocumentError(f"cannot read package: it ends after {size - left + len(chunk)} of {size} bytes")
        left -= wanted
        yield chunk


def salt_for(package_sha3: str) -> bytes:
    """The salt of the package with this SHA3-384, in the spelling of assertions: equal packages, equal trees."""
    return hashlib.sha256(b"imagekit-verity-salt" + package_sha3.encode("ascii")).digest()


def uuid_for(package_sha3: str) -> UUID:
    """The tree's UUID for the same package."""
    return derived_uuid("verity", package_sha3)


def read_root(stream: BinaryIO, *, size: int, offset: int = 0) -> str:
    """The root hash of the tree behind the package of `size` bytes at `offset`: what the package says it is, unproved.

    Raises:
        DocumentError: no superblock behind the package, one for another size, or the stream ends early.
    """
    superblock = _superblock(stream, size, offset)
    levels = level_blocks(size // BLOCK)
    stream.seek(offset + size + BLOCK if levels else offset)
    top = b"".join(_exactly(stream, BLOCK))
    return _digests(hashlib.sha256(superblock.salt), top).hex()


def _superblock(stream: BinaryIO, size: int, offset: int) -> Superblock:
    check_size(size)
    stream.seek(offset + size)
    superblock = Superblock.decode(stream.read(SUPERBLOCK))
    if superblock.data_blocks * BLOCK != size:
        raise DocumentError(f"cannot verify package: its verity superblock is for {superblock.data_blocks} blocks,"
                            f" the package has {size // BLOCK}")
    return superblock


def verify(stream: BinaryIO, *, size: int, root_hash: str, offset: int = 0) -> Superblock:
    """Check the package of `size` bytes at `offset` and the tree that follows it, as dm-verity would, root first.

    Raises:
        BadBlock: the first block, in the order root level to data, that is not what the root hash stands for.
        DocumentError: `root_hash` is none; no superblock behind the package, one for another size, or the stream ends
            early.
    """
    if not _ROOT.match(root_hash):
        raise DocumentError(f"cannot verify package: {short(root_hash)!r} is no root hash, which has {2 * DIGEST}"
                            " hexadecimal digits")
    superblock = _superblock(stream, size, offset)
    stream.seek(offset + size)
    tree = b"".join(_exactly(stream, tree_size(size)))
    salted = hashlib.sha256(superblock.salt)
    expected = bytes.fromhex(root_hash)
    position = BLOCK
    for blocks in level_blocks(size // BLOCK):
        level = memoryview(tree)[position:position + blocks * BLOCK]
        _compare(salted, level, expected, offset + size + position, "hash")
        expected = bytes(level)
        position += len(level)
    stream.seek(offset)
    done = 0
    for chunk in _exactly(stream, size):
        first = done // BLOCK * DIGEST
        _compare(salted, chunk, expected[first:first + len(chunk) // BLOCK * DIGEST], offset + done, "data")
        done += len(chunk)
    return superblock


def _compare(salted: hashlib._Hash, blocks: bytes | memoryview, expected: bytes, start: int, kind: str) -> None:
    found = _digests(salted, blocks)
    if found == expected[:len(found)]:
        return
    for index in range(0, len(found), DIGEST):
        if found[index:index + DIGEST] != expected[index:index + DIGEST]:
            offset = start + index // DIGEST * BLOCK
            raise BadBlock(f"cannot verify package: the {kind} block at byte {offset} does not match its digest",
                           offset=offset)
