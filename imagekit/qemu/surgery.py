"""Change a switched-off disk on purpose: break a block, fill a slot, edit the ESP, read and write the slot state.

For tests. Works on a raw disk file of their own (`imagekit.qemu.workbench`, copy), through the same codecs that made
the image, so it needs no mount, no rights and no other program. Filling a slot follows the updater's order (data, then
the record, then the loader entry), without its care for power cuts.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from imagekit.boot.entries import ENTRY_FOLDER, LoaderEntry, encode_entry, entry_name, kernel_path, parse_entry
from imagekit.boot.slotstate import (
    COPY_OFFSETS,
    RECORD_SIZE,
    TRIES,
    Slot,
    SlotState,
    begin_trial,
    encode_record,
    forget_other,
    newest,
)
from imagekit.boot.systemd_boot import slot_of
from imagekit.digests import sha3_384
from imagekit.disk import gpt
from imagekit.disk.fat_read import read_fat
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.disk.verity import SUPERBLOCK, Superblock, build_tree, level_blocks, salt_for, uuid_for
from imagekit.errors import PlanError
from imagekit.packages.erofs import SUPERBLOCK_OFFSET, Erofs
from imagekit.units import BLOCK, MIB, align_up

_STAMP = datetime(2020, 1, 1, tzinfo=UTC)
_COPY_STEP = 4 * MIB
_FILE_MOST = 256 * MIB


class Spot(StrEnum):
    """A place in a package's partition that is worth breaking."""

    USED = "used"  # a block of the package that holds something, drawn by seed
    SUPERBLOCK = "superblock"  # of the file system
    VERITY = "verity"  # the superblock of the tree
    TREE = "tree"  # a block of the tree's lowest level, drawn by seed
    TOP = "top"  # the tree's top block, which the root is the digest of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wound:
    """One flipped bit; `offset` is within the partition."""

    partition: str
    offset: int
    bit: int


class Disk:
    """A raw disk file, open for writing. Use as a context."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._table = gpt.decode(self._file)

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._file.close()

    def partition(self, name: str) -> gpt.Partition:
        """Raises: PlanError: there is none of that name."""
        found = self._table.find(name)
        if found is None:
            names = ", ".join(partition.name for partition in self._table.partitions)
            raise PlanError(f"cannot find partition {name!r} on the disk: it has {names}")
        return found

    def read(self, name: str, offset: int, size: int) -> bytes:
        self._file.seek(self._inside(name, offset, size))
        return self._file.read(size)

    def write(self, name: str, offset: int, content: bytes) -> None:
        self._file.seek(self._inside(name, offset, len(content)))
        self._file.write(content)
        self._file.flush()

    def _inside(self, name: str, offset: int, size: int) -> int:
        partition = self.partition(name)
        if not 0 <= offset <= offset + size <= partition.size:
            raise PlanError(f"cannot reach bytes {offset} to {offset + size} of {name}: it has {partition.size}")
        return partition.start + offset

    # the slot state

    @property
    def state(self) -> SlotState | None:
        """The record that counts; None when both copies are lost."""
        return newest(self._copies())[0]

    def set_state(self, state: SlotState) -> None:
        """Write over the older copy."""
        index = newest(self._copies())[1]
        self.write("slot-state", COPY_OFFSETS[index], encode_record(state))

    def _copies(self) -> tuple[bytes, bytes]:
        first, second = (self.read("slot-state", offset, RECORD_SIZE) for offset in COPY_OFFSETS)
        return first, second

    # FAT partitions

    def fat_files(self, name: str) -> dict[str, bytes]:
        """Every file of a FAT partition by path."""
        volume = read_fat(self._file, self.partition(name).start, name=name)
        return {entry.path: volume.read(entry.path, limit=_FILE_MOST) for entry in volume.walk() if not entry.is_dir}

    def set_fat_files(self, name: str, files: Mapping[str, bytes], *, label: str) -> None:
        """Make a FAT partition anew, with these files and no others."""
        partition = self.partition(name)
        listed = [FatFile(path=path, source=content) for path, content in files.items()]
        plan = plan_fat(partition.size, label, 1, listed, time=_STAMP)
        extents = [(offset, content) for offset, content in plan.extents if isinstance(content, bytes)]
        used = max(offset + len(content) for offset, content in extents)
        for offset in range(0, min(align_up(used, MIB), partition.size), MIB):  # a plan leaves out what is zero
            self.write(name, offset, bytes(min(MIB, partition.size - offset)))
        for offset, content in extents:
            self.write(name, offset, content)

    def esp_files(self) -> dict[str, bytes]:
        """Every file of the ESP by path."""
        return self.fat_files("esp")

    def set_esp_files(self, files: Mapping[str, bytes]) -> None:
        """Make the ESP anew, with these files and no others."""
        label = read_fat(self._file, self.partition("esp").start, name="esp").label
        self.set_fat_files("esp", files, label=label)

    def entries(self) -> dict[Slot, tuple[str, LoaderEntry]]:
        """The loader entries of ours: file name and content by slot."""
        found = {}
        for path, content in self.esp_files().items():
            name = path.rpartition("/")[2]
            slot = slot_of(name) if path == f"{ENTRY_FOLDER}/{name}" else None
            if slot is not None:
                found[slot] = (name, parse_entry(content, name=name))
        return found

    # slots

    def put_package(self, name: str, package: Path) -> str:
        """Write a package and its tree into a partition; answers the root."""
        with package.open("rb") as stream:
            digest = sha3_384(stream)
            size = stream.tell()
            stream.seek(0)
            tree = build_tree(stream, size, salt=salt_for(digest), uuid=uuid_for(digest))
            stream.seek(0)
            self._file.seek(self._inside(name, 0, size + len(tree.tree)))
            shutil.copyfileobj(stream, self._file, _COPY_STEP)
        self._file.write(tree.tree)
        self._file.flush()
        return tree.root_hash

    def install(self, slot: Slot, *, base: Path, kernel: Path, tries: int | None = TRIES,
                cmdline: str | None = None) -> LoaderEntry:
        """Fill a slot and make it the one to boot next.

        `tries` None: as if it had been healthy before. `cmdline` replaces that of the other slot's entry.
        """
        other_name, other = self.entries()[slot.other]
        self.begin_filling(slot)
        entry = LoaderEntry(
            slot=slot, version=other.version + 1, state_partuuid=other.state_partuuid,
            base_root=self.put_package(f"base-{slot.value}", base),
            kernel_root=self.put_package(f"kernel-{slot.value}", kernel),
            cmdline=other.cmdline if cmdline is None else cmdline)
        with kernel.open("rb") as stream:
            image = Erofs(stream, name=kernel.name).read("kernel.efi", limit=128 * MIB)
        files = self.esp_files()
        files = {path: content for path, content in files.items()
                 if slot_of(path.rpartition("/")[2]) is not slot or not path.startswith(ENTRY_FOLDER)}
        files[kernel_path(slot)] = image
        files[f"{ENTRY_FOLDER}/{entry_name(slot, tries=tries)}"] = encode_entry(entry)
        assert f"{ENTRY_FOLDER}/{other_name}" in files
        self.end_filling(tries)
        self.set_esp_files(files)
        return entry

    def begin_filling(self, slot: Slot) -> None:
        """The record before the first changed byte of a slot. Raises: PlanError: the other one is not what runs."""
        state = self.state
        if state is None or state.slot is not slot.other:
            raise PlanError(f"cannot install into slot {slot.value}: the slot-state record does not say that slot"
                            f" {slot.other.value} runs")
        self.set_state(forget_other(state))

    def end_filling(self, tries: int | None) -> None:
        """The record once the slot is filled."""
        state = self.state
        assert state is not None
        trial = begin_trial(state, tries=tries or 0)
        self.set_state(trial if tries is not None else replace(trial, confirmed=True))

    # wounds

    def find_spot(self, name: str, spot: Spot, *, seed: int = 0) -> int:
        """The offset within the partition of a byte in such a place."""
        partition = self.partition(name)
        size = Erofs(self._file, name=name, offset=partition.start).size
        draw = random.Random(f"{name}/{spot.value}/{seed}")
        if spot is Spot.SUPERBLOCK:
            return SUPERBLOCK_OFFSET
        if spot is Spot.VERITY:
            return size
        superblock = Superblock.decode(self.read(name, size, SUPERBLOCK))
        levels = level_blocks(superblock.data_blocks)
        if spot is Spot.TOP:
            return size + BLOCK
        if spot is Spot.TREE:
            return size + BLOCK * (1 + sum(levels[:-1]) + draw.randrange(levels[-1]))
        while True:
            offset = BLOCK * draw.randrange(1, superblock.data_blocks)
            if any(self.read(name, offset, BLOCK)):
                return offset + draw.randrange(BLOCK)

    def flip(self, name: str, offset: int, *, bit: int = 0) -> Wound:
        """Turn one bit over."""
        byte = self.read(name, offset, 1)[0]
        self.write(name, offset, bytes([byte ^ 1 << bit]))
        return Wound(partition=name, offset=offset, bit=bit)
