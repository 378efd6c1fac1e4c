"""What a device would do with a disk in some state, from the disk's bytes alone: the verdict on one power cut.

Decides what belongs to a slot that is whole: base and kernel package to the last byte against the roots that the loader
hands over, the boot files against the kernel package, the loader's own files against those of the image. What happens
at boot is `imagekit.boot.oracle`'s. The data partition is looked at only where that is asked for: a device boots
without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from imagekit.boot.autoboot import AUTOBOOT_NAME
from imagekit.boot.entries import ENTRY_FOLDER, kernel_path
from imagekit.boot.oracle import (
    PIBOOT,
    SYSTEMD_BOOT,
    U_BOOT,
    Bootable,
    Lost,
    Recovery,
    Roots,
    Unverified,
    check_offered,
    offered,
    recover,
)
from imagekit.boot.piboot import TEXTS, Partition
from imagekit.boot.pislot import is_of_kernel, is_whole
from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE, Slot
from imagekit.boot.uboot import COMPRESSED, DEVICE_TREE, ENV_NAME, INITRD, KERNELS, env_roots, is_sound
from imagekit.digests import sha256
from imagekit.disk import gpt
from imagekit.disk.extents import Extent, ExtentReader
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.verity import read_root, tree_size, verify
from imagekit.disk.writelog import LogEntry
from imagekit.errors import DocumentError, ImagekitError, TargetError
from imagekit.packages.erofs import Erofs
from imagekit.powercut.data import data_partition, data_way
from imagekit.powercut.disk import CutDisk, Span, span_of

KERNEL_IMAGE = "kernel.efi"
TEXT_MOST = 65536
_CHANGING = ("loader/random-seed", f"{ENTRY_FOLDER}/", "efi/imagekit/",  # of the ESP: not the gadget's, by path
             AUTOBOOT_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comes of a state. `problem`: empty, or why it counts as unbootable. The rest tells classes of states apart.

    `way`: the boots until one is healthy, in words; `menu`: what the loader could start; `record`: what the slot-state
    record remembers; `data`: by which copy of the partition table, if it is not the first, and what becomes of the data
    partition, where that is judged.
    """

    way: tuple[str, ...]
    menu: tuple[str, ...]
    record: str
    slot: str = ""
    roots: Roots = ("", "")
    data: str = ""
    problem: str = ""


class _Unsure(Exception):
    """Whether a boot reads what is wrong with a slot cannot be told."""


class Examiner:
    """Looks at one disk again and again. Made while the disk is as the image has it: what may not change is noted.

    `brought`: digests of files of the boot partition that the update brings, by path; each is the old one or that one.
    `data`: the data partition is judged too.
    """

    def __init__(self, disk: CutDisk, *, brought: Mapping[str, str] | None = None, data: bool = False) -> None:
        self._disk, self._brought = disk, dict(brought or {})
        table = gpt.decode(disk.stream())
        self._data_at = data_partition(table).start if data else None
        self._loader = SYSTEMD_BOOT if table.find("boot-a") is None else U_BOOT
        self._fixed: dict[str, str] = {}  # files of the boot partition that no update writes, with their digests
        found = self._loader_partition(table)
        if found is not None:
            volume = self._volume(found)
            if volume.find(AUTOBOOT_NAME) is not None:
                self._loader = PIBOOT
            self._fixed = {item.path: self._digest(volume, item.path) for item in volume.walk()
                           if not item.is_dir and not item.path.lower().startswith(_CHANGING)}
        if not self._fixed and self._loader != PIBOOT:
            raise DocumentError("cannot judge power cuts: the image has no boot partition with a loader")
        self._images = {self._kernel_image(found) for slot in Slot if (found := table.find(f"kernel-{slot.value}"))
                        and _has_package(disk.stream(), found)} if self._loader == SYSTEMD_BOOT else set()

    def __call__(self) -> Verdict:
        """The verdict on the disk as it is now; `disk.seen` tells afterwards what it depends on."""
        self._disk.forget_seen()
        try:
            table = gpt.decode(self._disk.stream())
            bootable = self._bootable(table)
            data = self._data(table)
        except ImagekitError as error:
            return Verdict(way=(), menu=(), record="", problem=error.message)
        menu = _menu(bootable)
        record = _told(bootable)

        def check(slot: Slot, roots: Roots) -> None:
            self._check_whole(table, slot, roots)

        try:
            check_offered(bootable, check)
            found = recover(bootable, check)
        except TargetError as error:
            return Verdict(way=(), menu=menu, record=record, problem=error.message)
        return Verdict(way=_way(found), menu=menu, record=record, slot=found.slot.value, roots=found.roots, data=data)

    def going_back(self) -> Verdict | None:
        """The verdict on a disk as it is now, a slot that may be started being not whole: the boots that a device takes
        to get back to one that is.

        None: it has no such slot, nothing gets healthy, or it cannot be told. It can where the initrd of what is
        started is whole, and base or kernel package do not even begin as their root says: no boot gets beyond that.
        """
        verdict = self()
        if not verdict.problem:
            return None
        dead: set[Roots] = set()

        def check(slot: Slot, roots: Roots) -> None:
            dead.discard(roots)
            if self._is_dead(table, bootable, slot, roots):
                dead.add(roots)
            else:
                self._check_whole(table, slot, roots)

        try:
            table = gpt.decode(self._disk.stream())
            bootable = self._bootable(table)
            found = recover(bootable, check, sick=dead.__contains__)
        except (_Unsure, Lost, Unverified, DocumentError):
            return None
        return replace(verdict, way=_way(found), menu=_menu(bootable), record=_told(bootable), slot=found.slot.value,
                       roots=found.roots)

    def _is_dead(self, table: gpt.Table, bootable: Bootable, slot: Slot, roots: Roots) -> bool:
        """Whether the initrd of a slot surely comes, and surely goes no further. Raises: _Unsure."""
        parts = [table.find(f"{part}-{slot.value}") for part in ("base", "kernel")]
        opens = [found is not None and _opens(self._disk.stream(), found, root)
                 for found, root in zip(parts, roots, strict=True)]
        if all(opens):
            return False
        kernel = parts[1] if opens[1] and parts[1] is not None and not self._part_problem(parts[1], roots[1]) else None
        if not self._initrd_comes(table, bootable, slot, kernel):
            raise _Unsure
        return True

    def _initrd_comes(self, table: gpt.Table, bootable: Bootable, slot: Slot, kernel: gpt.Partition | None) -> bool:
        """Whether what the loader starts is whole; `kernel`: the slot's package, if that is."""
        if self._loader == SYSTEMD_BOOT:
            found = self._loader_partition(table)
            return found is not None and self._digest(self._volume(found), kernel_path(slot)) in {
                *self._images, *([self._kernel_image(kernel)] if kernel is not None else [])}
        if self._loader == U_BOOT:
            return slot in bootable.sound
        volume = table.find(f"boot-{slot.value}")
        return volume is not None and is_whole(_files(self._disk.stream(), volume), slot)

    def _data(self, table: gpt.Table) -> str:
        if self._data_at is None:
            return ""
        copy = "by the backup table: " if table.problem_of("primary") else ""
        return copy + data_way(self._disk, table, start=self._data_at)

    # what the loader sees

    def _loader_partition(self, table: gpt.Table) -> gpt.Partition | None:
        return next((item for item in table.partitions if item.type_guid == gpt.ESP), None) or table.find("boot")

    def _volume(self, found: gpt.Partition) -> FatVolume:
        return read_fat(self._disk.stream(), found.start, name=found.name)

    def _bootable(self, table: gpt.Table) -> Bootable:
        found = self._loader_partition(table)
        if found is None:
            raise DocumentError("the partition of the loader is gone")
        volume = self._volume(found)
        files = [item for item in volume.walk(readable=True) if not item.is_dir]
        if missing := sorted(set(self._fixed) - {item.path for item in files}):
            raise DocumentError(f"{missing[0]} on the boot partition is gone")
        for path, wanted in self._fixed.items():
            if self._digest(volume, path) not in (wanted, self._brought.get(path)):
                raise DocumentError(f"{path} on the boot partition is not what it was")
        copies = self._copies(table)
        if self._loader == U_BOOT:
            return Bootable(loader=U_BOOT, copies=copies, sound=dict(self._sound(table)))
        if self._loader == PIBOOT:
            texts = {item.path.lower(): volume.read(item.path, limit=TEXT_MOST) for item in files
                     if item.path.lower() in TEXTS}
            return Bootable(loader=PIBOOT, copies=copies, **self._card(
                table, Partition(names=frozenset(item.path.lower() for item in files), texts=texts)))
        entries = {item.name: volume.read(item.path, limit=TEXT_MOST) for item in files
                   if item.path.lower().startswith(f"{ENTRY_FOLDER}/") and item.size <= TEXT_MOST}
        return Bootable(loader=SYSTEMD_BOOT, copies=copies, entries=entries,
                        programs=frozenset(item.path for item in files if item.size))

    def _digest(self, volume: FatVolume, path: str) -> str:
        def digest() -> str:
            extents = volume.locate(path)
            return self._disk.once("digest", _spans(extents), lambda: _digest_of(self._disk.stream(), extents))

        return self._disk.recalled(("digest", path), digest)

    def _copies(self, table: gpt.Table) -> tuple[bytes, bytes]:
        found = table.find("slot-state")
        if found is None:
            raise DocumentError("the slot-state partition is gone")
        first, second = (self._disk.read(found.start + offset, RECORD_SIZE) for offset in COPY_OFFSETS)
        return first, second

    def _sound(self, table: gpt.Table) -> list[tuple[Slot, Roots]]:
        found = []
        for slot in Slot:
            partition = table.find(f"boot-{slot.value}")
            if partition is None or not _begins(self._disk.stream(), partition):
                continue  # nothing more of it is read while an update has closed it
            roots = self._disk.once(("sound", slot), (span_of(partition.start, partition.end),),
                                    partial(_sound_roots, self._disk.stream(), partition, slot))
            if roots is not None:
                found.append((slot, roots))
        return found

    def _card(self, table: gpt.Table, first: Partition) -> dict[str, Any]:
        card, numbers = {1: first}, {}
        for slot in Slot:
            partition = table.find(f"boot-{slot.value}")
            if partition is None:
                continue
            numbers[slot] = partition.index
            if not _begins(self._disk.stream(), partition):
                continue  # nothing more of it is read while an update has closed it
            seen = self._disk.once(("card", slot), (span_of(partition.start, partition.end),),
                                   partial(_seen_by_firmware, self._disk.stream(), partition))
            if seen is not None:
                card[partition.index] = seen
        return {"card": card, "numbers": numbers}

    # what a slot has to be

    def _check_whole(self, table: gpt.Table, slot: Slot, roots: Roots) -> None:
        """Raises: Unverified: a byte of the slot is not what its roots stand for."""
        for part, root in zip(("base", "kernel"), roots, strict=True):
            found = table.find(f"{part}-{slot.value}")
            if found is None:
                raise Unverified(f"slot {slot.value} is started and its {part} is gone")
            if problem := self._part_problem(found, root):
                raise Unverified(f"slot {slot.value} is started and its {part} does not verify: {problem}")
        if problem := (self._image_problem if self._loader == SYSTEMD_BOOT else self._volume_problem)(table, slot):
            raise Unverified(f"slot {slot.value} is started and {problem}")

    def _part_problem(self, found: gpt.Partition, root: str) -> str:
        try:
            size, spans = self._package_spans(found)
        except DocumentError as error:
            return error.message

        def problem() -> str:
            try:
                verify(self._disk.stream(), size=size, root_hash=root, offset=found.start)
            except ImagekitError as error:
                return error.message
            return ""

        return self._disk.once(("verify", root), spans, problem)

    def _package_spans(self, found: gpt.Partition) -> tuple[int, tuple[Span, ...]]:
        """The size of a package, and where it lies with its tree. Raises: DocumentError: there is none."""
        stream = self._disk.stream()
        size = Erofs(stream, name=found.name, offset=found.start).size
        end = found.start + size + tree_size(size)
        if end > found.end:
            raise DocumentError(f"cannot read {found.name}: its package ends behind the partition")
        return size, (span_of(found.start, end),)

    def _image_problem(self, table: gpt.Table, slot: Slot) -> str:
        """What is wrong with the kernel image on the ESP, whose slot verifies otherwise."""
        esp, kernel = self._loader_partition(table), table.find(f"kernel-{slot.value}")
        assert esp is not None
        assert kernel is not None
        path = kernel_path(slot)
        try:
            there = self._digest(self._volume(esp), path)
        except DocumentError as error:
            return error.message
        return "" if there == self._kernel_image(kernel) else f"{path} is not the image of its kernel package"

    def _kernel_image(self, kernel: gpt.Partition) -> str:
        """The digest of the kernel image of a package."""
        return self._disk.once("image", self._package_spans(kernel)[1],
                               lambda: sha256(_package(self._disk.stream(), kernel).open(KERNEL_IMAGE)))

    def _volume_problem(self, table: gpt.Table, slot: Slot) -> str:
        """What is wrong with the files of a slot's FAT image; U-Boot takes only what its `slot.env` measures."""
        volume, kernel = table.find(f"boot-{slot.value}"), table.find(f"kernel-{slot.value}")
        assert volume is not None
        assert kernel is not None

        def problem() -> str:
            package = _package(self._disk.stream(), kernel)
            trees = {sha256(package.open(entry.path)) for entry in package.walk() if entry.path.endswith(".dtb")}
            files = _files(self._disk.stream(), volume)
            if self._loader == PIBOOT:
                if not is_whole(files, slot):
                    return "its slot.sum does not describe its files"
                files = {name: raw for name, raw in files.items() if is_of_kernel(name)}
            for name, raw in files.items():
                digest = hashlib.sha256(raw).hexdigest()
                is_tree = name.endswith(".dtb")
                known = trees if is_tree else {sha256(package.open(name))} if package.find(name) else set()
                if name != ENV_NAME and digest not in known:
                    return f"{name} is not that of its kernel package"
            return ""

        return self._disk.once(("volume", slot), (span_of(volume.start, volume.end), *self._package_spans(kernel)[1]),
                               problem)


def check_seed(disk: CutDisk, log: Iterable[LogEntry]) -> None:
    """Raises: TargetError: a request writes to the seed, which nobody may."""
    seed = gpt.decode(disk.stream()).find("seed")
    if seed is None:
        return
    first, last = span_of(seed.start, seed.end)
    for number, entry in enumerate(log, 1):
        if entry.meets(first, last):
            raise TargetError(f"cannot call the device safe: request {number} writes to the seed, which nobody may")


def _spans(extents: tuple[Extent, ...]) -> tuple[Span, ...]:
    return tuple(span_of(item.start, item.start + item.length) for item in extents if item.start is not None)


def _digest_of(stream: BinaryIO, extents: tuple[Extent, ...]) -> str:
    return sha256(ExtentReader(stream, extents))  # type: ignore[arg-type]  # a RawIOBase that reads


def _package(stream: BinaryIO, found: gpt.Partition) -> Erofs:
    return Erofs(stream, name=found.name, offset=found.start)


def _has_package(stream: BinaryIO, found: gpt.Partition) -> bool:
    with suppress(DocumentError):
        _package(stream, found)
        return True
    return False


def _opens(stream: BinaryIO, found: gpt.Partition, root: str) -> bool:
    """Whether dm-verity takes the root of a package: its superblocks and the top of its tree are there."""
    with suppress(DocumentError):
        return read_root(stream, size=_package(stream, found).size, offset=found.start) == root
    return False


def _begins(stream: BinaryIO, found: gpt.Partition) -> bool:
    """Whether the partition begins as a FAT does."""
    try:
        read_fat(stream, found.start, name=found.name)
    except DocumentError:
        return False
    return True


def _files(stream: BinaryIO, found: gpt.Partition) -> dict[str, bytes]:
    volume = read_fat(stream, found.start, name=found.name)
    return {entry.path: volume.read(entry.path) for entry in volume.walk() if not entry.is_dir}


def _sound_roots(stream: BinaryIO, found: gpt.Partition, slot: Slot) -> Roots | None:
    """The roots of a slot that the boot script would take."""
    with suppress(DocumentError):
        files = _files(stream, found)
        if is_sound(files, slot, _needed(files)):
            return env_roots(files)
    return None


def _needed(files: Mapping[str, bytes]) -> tuple[str, ...]:
    kernels = [name for name in (COMPRESSED, *(name for name, _ in KERNELS.values())) if name in files]
    tree = [DEVICE_TREE] if b"\nik_dtb_size=" in files.get(ENV_NAME, b"") else []
    return (*(kernels[:1] or ["Image"]), INITRD, *tree)


def _seen_by_firmware(stream: BinaryIO, found: gpt.Partition) -> Partition | None:
    """A slot's files as the Raspberry Pi's firmware sees them."""
    with suppress(DocumentError):
        files = {path.lower(): raw for path, raw in _files(stream, found).items()}
        return Partition(names=frozenset(files), texts={path: files[path] for path in TEXTS if path in files})
    return None


def _menu(bootable: Bootable) -> tuple[str, ...]:
    """What the loader could start, in words."""
    if bootable.loader == SYSTEMD_BOOT:
        return tuple(sorted(bootable.entries))
    if bootable.loader == U_BOOT:
        return tuple(sorted(f"boot-{slot.value}" for slot in bootable.sound))
    return tuple(sorted({f"boot-{slot.value}" for slot, _ in offered(bootable)}))


def _told(bootable: Bootable) -> str:
    record = bootable.record
    if record is None:
        return "none"
    return (f"slot {record.slot.value}, {'confirmed' if record.confirmed else f'{record.tries} tries'},"
            f" begun {record.unhealthy} times, the other is {'a' if record.other_good else 'no'} way back")


def _way(found: Recovery) -> tuple[str, ...]:
    """The boots in words, the last of them healthy."""
    return tuple(f"{boot.entry}: {'hands over' if boot.handed_over else f'slot {boot.slot.value}'}"
                 for boot in found.boots)
