from __future__ import annotations

import hashlib
import io
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.disk import verity
from imagekit.errors import DocumentError

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
SALT = bytes(range(32))


def package(blocks: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % index).digest() * 128 for index in range(blocks))


def placed(blocks: int) -> tuple[bytearray, str]:
    """A package with its tree behind it, and the root hash."""
    content = package(blocks)
    tree = verity.build_tree(io.BytesIO(content), len(content), salt=SALT, uuid=UUID)
    return bytearray(content + tree.tree), tree.root_hash


def test_one_block_has_a_superblock_and_no_levels() -> None:
    content = package(1)
    tree = verity.build_tree(io.BytesIO(content), 4096, salt=SALT, uuid=UUID)
    assert tree.root_hash == hashlib.sha256(SALT + content).hexdigest()
    assert len(tree.tree) == 4096 == verity.tree_size(4096)


def test_two_blocks_share_a_hash_block_filled_with_zeros() -> None:
    content = package(2)
    tree = verity.build_tree(io.BytesIO(content), 8192, salt=SALT, uuid=UUID)
    level = b"".join(hashlib.sha256(SALT + content[at:at + 4096]).digest() for at in (0, 4096)).ljust(4096, b"\0")
    assert tree.tree[4096:] == level
    assert tree.root_hash == hashlib.sha256(SALT + level).hexdigest()


@pytest.mark.parametrize(("blocks", "levels"), [(1, ()), (2, (1,)), (128, (1,)), (129, (1, 2)), (128 * 128, (1, 128)),
                                                (128 * 128 + 1, (1, 2, 129))])
def test_levels_grow_at_powers_of_the_fan_out(blocks: int, levels: tuple[int, ...]) -> None:
    assert verity.level_blocks(blocks) == levels
    assert verity.tree_size(blocks * 4096) == 4096 * (1 + sum(levels))


@given(st.lists(st.integers(min_value=0, max_value=9000), max_size=12))
@settings(max_examples=50, deadline=None)
def test_pieces_of_any_size_give_the_same_tree(pieces: list[int]) -> None:
    content = package(9)
    builder = verity.TreeBuilder(salt=SALT, uuid=UUID)
    position = 0
    for piece in [*pieces, len(content)]:
        builder.update(content[position:position + piece])
        position += piece
    assert builder.finish() == verity.build_tree(io.BytesIO(content), len(content), salt=SALT, uuid=UUID)


class Dribble(io.BytesIO):
    """Hands out less than asked for, as pipes do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 1000) if size is not None and size > 0 else size)


def test_a_stream_that_dribbles_gives_the_same_tree() -> None:
    content = package(5)
    assert verity.build_tree(Dribble(content), len(content), salt=SALT, uuid=UUID) == verity.build_tree(
        io.BytesIO(content), len(content), salt=SALT, uuid=UUID)


@pytest.mark.parametrize("size", [0, -4096, 1, 4095, 4097])
def test_size_that_is_no_multiple_of_a_block_is_refused(size: int) -> None:
    with pytest.raises(DocumentError, match="multiple of 4096"):
        verity.build_tree(io.BytesIO(b"x" * 9000), size, salt=SALT, uuid=UUID)
    with pytest.raises(DocumentError, match="multiple of 4096"):
        verity.tree_size(size)


def test_builder_that_was_fed_half_a_block_refuses_to_finish() -> None:
    builder = verity.TreeBuilder(salt=SALT, uuid=UUID)
    builder.update(b"x" * 5000)
    with pytest.raises(DocumentError, match="5000 bytes"):
        builder.finish()


def test_stream_that_ends_early_is_refused() -> None:
    with pytest.raises(DocumentError, match="ends after 4096 of 8192"):
        verity.build_tree(io.BytesIO(b"x" * 4096), 8192, salt=SALT, uuid=UUID)


def test_superblock_comes_back_as_it_was() -> None:
    superblock = verity.Superblock(uuid=UUID, data_blocks=77, salt=SALT)
    assert len(superblock.encode()) == verity.SUPERBLOCK
    assert verity.Superblock.decode(superblock.encode()) == superblock


@pytest.mark.parametrize(("offset", "value"), [(0, b"V"), (8, b"\2"), (12, b"\0"), (32, b"sha512"), (64, b"\1"),
                                               (68, b"\1"), (80, b"\1\1\1")])
def test_superblock_with_other_parameters_is_refused(offset: int, value: bytes) -> None:
    raw = bytearray(verity.Superblock(uuid=UUID, data_blocks=1, salt=SALT).encode())
    raw[offset:offset + len(value)] = value
    with pytest.raises(DocumentError, match="cannot decode verity superblock"):
        verity.Superblock.decode(bytes(raw))


def test_superblock_cut_short_is_refused() -> None:
    with pytest.raises(DocumentError, match="511 bytes"):
        verity.Superblock.decode(b"verity\0\0".ljust(511, b"\0"))


@pytest.mark.parametrize("blocks", [1, 2, 128, 129, 300])
def test_whole_package_verifies(blocks: int) -> None:
    disk, root = placed(blocks)
    found = verity.verify(io.BytesIO(b"before" + disk), size=blocks * 4096, root_hash=root, offset=6)
    assert found.uuid == UUID


@pytest.mark.parametrize("block", [0, 127, 128, 299, 301, 302, 304])
def test_a_flipped_bit_names_its_block(block: int) -> None:
    disk, root = placed(300)  # 300 data blocks, superblock at 300, root level at 301, level 0 at 302..304
    disk[block * 4096 + 17] ^= 4
    with pytest.raises(verity.BadBlock) as caught:
        verity.verify(io.BytesIO(disk), size=300 * 4096, root_hash=root)
    assert caught.value.offset == block * 4096


def test_another_root_hash_blames_the_top_block() -> None:
    disk, _ = placed(3)
    with pytest.raises(verity.BadBlock, match="hash block at byte 16384"):
        verity.verify(io.BytesIO(disk), size=3 * 4096, root_hash="00" * 32)


@pytest.mark.parametrize("root", ["", "zz", "ab" * 31, "ab" * 33, "zz" * 32])
def test_root_hash_that_is_none_is_refused(root: str) -> None:
    disk, _ = placed(2)
    with pytest.raises(DocumentError, match="is no root hash"):
        verity.verify(io.BytesIO(disk), size=2 * 4096, root_hash=root)


def test_superblock_for_another_size_is_refused() -> None:
    disk, root = placed(3)
    disk[3 * 4096 + 72] = 4
    with pytest.raises(DocumentError, match="for 4 blocks, the package has 3"):
        verity.verify(io.BytesIO(disk), size=3 * 4096, root_hash=root)


def test_tree_cut_short_is_refused() -> None:
    disk, root = placed(3)
    with pytest.raises(DocumentError, match="ends after"):
        verity.verify(io.BytesIO(disk[:-1]), size=3 * 4096, root_hash=root)


def test_salt_and_uuid_follow_from_the_package() -> None:
    assert verity.salt_for("abc") == hashlib.sha256(b"imagekit-verity-saltabc").digest()
    assert verity.uuid_for("abc") == verity.uuid_for("abc") != verity.uuid_for("abd")


@pytest.mark.parametrize("blocks", [1, 2, 130])
def test_root_is_read_from_the_top_of_the_tree(blocks: int) -> None:
    disk, root = placed(blocks)
    assert verity.read_root(io.BytesIO(bytes(8) + disk), size=blocks * 4096, offset=8) == root
    disk[4096 * blocks + 4096 if blocks > 1 else 0] ^= 1
    assert verity.read_root(io.BytesIO(disk), size=blocks * 4096) != root
