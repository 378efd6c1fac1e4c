"""Random bytes in what a boot goes by: `autoboot.txt`, and either copy of the partition table.

The slot-state record is in test_install.py. There is no environment of U-Boot or GRUB to tamper with: no loader of ours
reads one.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from pathlib import Path

import pytest

from imagekit.boot.autoboot import AUTOBOOT_NAME, decode_autoboot
from imagekit.boot.oracle import PI_RULES, PIBOOT, Lost
from imagekit.boot.piboot import BOARDS, choose
from imagekit.boot.pislot import parse_cmdline
from imagekit.disk import gpt
from imagekit.errors import DocumentError
from imagekit.units import MIB
from tests.tools.update_oracle import NUMBERS, DiskState, boot_until_healthy
from tests.tools.update_rig import SYSTEMD_BOOT, Rig, make

pytestmark = pytest.mark.tools

DRAWS = 300
SECTOR = 512
COPY = 33 * SECTOR  # a header, and the entries beside it


def noise(draw: random.Random, raw: bytes, *, keep: int = 0) -> bytes:
    """Random bytes all over, behind the first `keep`, or from somewhere on; or flipped bits."""
    kind, found = draw.randrange(4), bytearray(raw)
    if kind == 0:
        return draw.randbytes(len(raw))
    if kind == 1:
        return raw[:keep] + draw.randbytes(len(raw) - keep)
    if kind == 2:
        at = draw.randrange(len(raw))
        return raw[:at] + draw.randbytes(len(raw) - at)
    for _ in range(draw.randrange(1, 40)):
        found[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return bytes(found)


# ---- autoboot.txt

@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> DiskState:
    folder = tmp_path_factory.mktemp("card")
    return Rig(folder / "device", make(folder / "maker", PIBOOT).build(), PIBOOT).disk_state()


def named(state: DiskState) -> str:
    """What the file makes firmware do that looks for no other partition than the one that is named."""
    try:
        found = choose(state.bootable.card, board=BOARDS["raspi4b"], rules=PI_RULES[0])
    except DocumentError:
        return "undocumented"
    return "slot" if found.load is not None else "nothing"


def tampered(card: DiskState) -> list[DiskState]:
    draw, found = random.Random(24), []
    raw = card.esp[AUTOBOOT_NAME]
    at = raw.index(b"boot_partition=") + len(b"boot_partition=")
    numbers = [raw[:at] + str(number).encode() + raw[at + 1:] for number in range(10)]
    for text in [*(noise(draw, raw, keep=at) for _ in range(DRAWS)), *numbers, b"", raw[:at], raw * 2]:
        state = card.copy()
        state.esp[AUTOBOOT_NAME] = text
        found.append(state)
    return found


def test_autoboot_of_random_bytes_boots_a_whole_slot_all_the_same(card: DiskState) -> None:
    """By firmware that walks on from a partition that cannot be booted; the healthy boot writes the file anew."""
    kinds = Counter[str]()
    for state in tampered(card):
        kind = named(state)
        kinds[kind] += 1
        if kind == "nothing":
            found = choose(state.bootable.card, board=BOARDS["raspi4b"], rules=PI_RULES[1])
            assert found.load is not None and found.partition in NUMBERS.values()
            assert parse_cmdline(found.load.cmdline.encode(), name="walked to").base_root
            state.esp[AUTOBOOT_NAME] = b"boot_partition=%d\n" % found.partition
        elif kind == "undocumented":
            state.esp[AUTOBOOT_NAME] = b""  # as if no line of it counted
        slot, _ = boot_until_healthy(state)
        assert decode_autoboot(state.esp[AUTOBOOT_NAME]).boot == NUMBERS[slot]
    assert all(kinds[kind] for kind in ("slot", "nothing", "undocumented"))


def test_autoboot_that_names_what_cannot_be_booted_is_the_end_without_the_walk(card: DiskState) -> None:
    lost = [state for state in tampered(card) if named(state) == "nothing"]
    for state in lost:
        with pytest.raises(Lost):
            boot_until_healthy(state)
    assert lost


# ---- the partition table

@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The first and the last MiB of a device's disk, which are all that its table is read from."""
    image = make(tmp_path_factory.mktemp("maker"), SYSTEMD_BOOT).build()
    with image.open("rb") as stream:
        head = stream.read(MIB)
        stream.seek(-MIB, io.SEEK_END)
        return head, stream.read(MIB)


class Disk(io.BytesIO):
    """A disk of which only both ends are in memory; between them are zeros."""

    def __init__(self, head: bytes, tail: bytes, size: int) -> None:
        super().__init__()
        self._head, self._tail, self._size, self._at = head, tail, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else self._size + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        length = max(0, min(self._size - self._at, self._size if size is None or size < 0 else size))
        if self._at < MIB:
            found = self._head[self._at:self._at + length]
        else:
            at = self._at - (self._size - MIB)
            found = self._tail[at:at + length] if at >= 0 else b""
        self._at += length
        return found.ljust(length, b"\0")


def table_of(head: bytes, tail: bytes) -> gpt.Table:
    size = int.from_bytes(head[SECTOR + 32:SECTOR + 40], "little")  # where its backup is, in a table that is whole
    return gpt.decode(Disk(head, tail, (size + 1) * SECTOR))


@pytest.mark.parametrize("copy", gpt.COPIES)
def test_table_with_a_copy_of_random_bytes_is_read_by_the_other_one(ends: tuple[bytes, bytes], copy: str) -> None:
    """Partitions and identifiers are those that they were, and so is all that is booted by them."""
    whole = table_of(*ends)
    draw = random.Random(copy)
    for _ in range(DRAWS):
        head, tail = _tampered(draw, ends, copy)
        found = gpt.decode(Disk(head, tail, whole.disk_size))
        assert (found.partitions, found.disk_guid) == (whole.partitions, whole.disk_guid)


@pytest.mark.parametrize("copy", gpt.COPIES)
def test_table_with_a_copy_of_random_bytes_is_lost_without_the_other_one(ends: tuple[bytes, bytes], copy: str) -> None:
    whole = table_of(*ends)
    draw, lost = random.Random(copy), 0
    for _ in range(DRAWS):
        head, tail = _tampered(draw, ends, copy)
        head, tail = (head, bytes(MIB)) if copy == "primary" else (head[:SECTOR] + bytes(MIB - SECTOR), tail)
        try:
            assert gpt.decode(Disk(head, tail, whole.disk_size)).partitions == whole.partitions
        except DocumentError:
            lost += 1
    assert lost > DRAWS * 0.9  # the rest flips bits of a header's sector that mean nothing


def _tampered(draw: random.Random, ends: tuple[bytes, bytes], copy: str) -> tuple[bytes, bytes]:
    head, tail = ends
    if copy == "primary":
        return head[:SECTOR] + noise(draw, head[SECTOR:SECTOR + COPY], keep=8) + head[SECTOR + COPY:], tail
    entries, header = tail[-COPY:-SECTOR], tail[-SECTOR:]
    mixed = noise(draw, header + entries, keep=8)
    return head, tail[:-COPY] + mixed[SECTOR:] + mixed[:SECTOR]


def test_disk_is_as_long_as_its_table_says(ends: tuple[bytes, bytes], tmp_path: Path) -> None:
    """What stands in for the disk above is read as the disk is."""
    whole = table_of(*ends)
    path = tmp_path / "disk"
    with path.open("wb") as out:
        out.write(ends[0])
        out.seek(whole.disk_size - MIB)
        out.write(ends[1])
    with path.open("rb") as stream:
        assert gpt.decode(stream) == whole
