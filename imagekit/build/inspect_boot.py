"""Read what starts an image: the boot partition with its loader and entries, the slot-state record, the slots.

Nothing is raised for what lies there; what cannot be read is in the values. A hash tree is only read with a progress to
tell it, since that costs as much as reading the packages.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable
from typing import BinaryIO

from imagekit.boot.entries import ENTRY_FOLDER, LoaderEntry, fields, kernel_path, parse_entry
from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE, Slot
from imagekit.boot.systemd_boot import parse_name, slot_of
from imagekit.digests import sha256
from imagekit.disk import gpt
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.probe import SLOT_STATE, Content, DiskImage, DiskPartition
from imagekit.disk.verity import BadBlock, read_root, tree_size, verify
from imagekit.errors import DocumentError
from imagekit.host.ports import Progress
from imagekit.packages.elf import HEAD_SIZE, decode_architecture
from imagekit.packages.erofs import Erofs
from imagekit.packages.package import ErofsPackage
from imagekit.packages.uki import decode_uki, efi_architecture, efi_loader
from imagekit.plan.inspection import EfiProgram, EntryFound, EspFound, KernelFound, PartFound, Programs, Tree
from imagekit.units import MIB

ESP = "esp"
REMOVABLE_FOLDER = "efi/boot/"
OFFERED_FOLDER = "efi/linux/"  # kernels that the loader lists without an entry (UAPI.1, "Type #2")
LOADER_CONF = "loader/loader.conf"
KERNEL_IMAGE = "kernel.efi"
KERNEL_MOST = 256 * MIB
TEXT_MOST = 1 * MIB
NOT_RUN = ("lib/firmware/", "usr/lib/firmware/", "boot/", "usr/lib/grub/", "usr/lib/debug/")  # for other processors


def boot_partition(image: DiskImage) -> DiskPartition | None:
    """The EFI system partition, by its type or by its name."""
    typed = (item for item in image.partitions if item.partition.type_guid == gpt.ESP)
    return next(typed, None) or image.find(ESP)


def look_at_esp(stream: BinaryIO, image: DiskImage) -> EspFound:
    """The boot partition as firmware and loader see it."""
    found = boot_partition(image)
    try:
        if found is None:
            raise DocumentError("there is no EFI system partition")
        volume = read_fat(stream, found.partition.start, name=found.name)
        files = {item.path: item for item in volume.walk() if not item.is_dir}
        names = [path for path in files if path.lower().startswith(f"{ENTRY_FOLDER}/")]
        raw = {path.rpartition("/")[2]: volume.read(path, limit=TEXT_MOST) for path in names}
        settings = fields(volume.read(LOADER_CONF, limit=TEXT_MOST)) if volume.find(LOADER_CONF) else {}
        loaders = tuple(_program(volume, path) for path in sorted(files)
                        if path.lower().startswith(REMOVABLE_FOLDER) and path.lower().endswith(".efi"))
    except DocumentError as error:
        return EspFound(problem=error.message, loaders=(), entries=(), raw_entries={}, programs=frozenset(),
                        offered=(), settings={})
    return EspFound(problem="", loaders=loaders, raw_entries=raw, programs=frozenset(files), settings=settings,
                    entries=tuple(_entry(name, raw[name]) for name in sorted(raw) if name.lower().endswith(".conf")),
                    offered=tuple(path for path in sorted(files) if path.lower().startswith(OFFERED_FOLDER)))


def _program(volume: FatVolume, path: str) -> EfiProgram:
    try:
        content = volume.read(path)
        return EfiProgram(path=path, architecture=efi_architecture(content, name=path), loader=efi_loader(content),
                          problem="")
    except DocumentError as error:
        return EfiProgram(path=path, architecture=None, loader=None, problem=error.message)


def _entry(name: str, raw: bytes) -> EntryFound:
    slot, tries = slot_of(name), parse_name(name).left
    if slot is None:
        return EntryFound(file_name=name, slot=None, tries=tries, entry=None, problem="")
    try:
        entry: LoaderEntry | None = parse_entry(raw, name=name)
        problem = ""
    except DocumentError as error:
        entry, problem = None, error.message
    program = fields(raw).get("efi", "").lstrip("/")
    if not problem and program.lower() != kernel_path(slot).lower():
        problem = f"it starts /{program}, the kernel of slot {slot.value} is /{kernel_path(slot)}"
    return EntryFound(file_name=name, slot=slot, tries=tries, entry=entry, problem=problem)


def entry_of(esp: EspFound, slot: Slot) -> LoaderEntry | None:
    """The entry of a slot, if there is one that can be read."""
    return next((item.entry for item in esp.entries if item.slot is slot and item.entry is not None), None)


def read_record(stream: BinaryIO, image: DiskImage) -> tuple[bytes, bytes] | None:
    """Both copies of the slot-state record; None: there is no such partition."""
    found = image.find(SLOT_STATE)
    if found is None or found.partition.size < COPY_OFFSETS[1] + RECORD_SIZE:
        return None
    first, second = (_at(stream, found.partition.start + offset, RECORD_SIZE) for offset in COPY_OFFSETS)
    return first, second


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def look_at_part(stream: BinaryIO, image: DiskImage, slot: Slot, part: str, *, entry: LoaderEntry | None,
                 architecture: str | None, progress: Progress | None, programs: bool = True) -> PartFound:
    """One package of one slot, held to the root of the slot's entry, or where it has none to its tree's own.

    `programs`: whether to look what its programs are for.
    """
    name = f"{part}-{slot.value}"
    found = image.find(name)
    wanted = None if entry is None else entry.base_root if part == "base" else entry.kernel_root
    content, size, root, problem = (found.content if found else None), 0, None, (found.problem if found else "")
    counted, tree, broken = None, Tree.UNREAD, ""
    if found is not None and found.content is Content.EROFS and not problem:
        size, start = found.package_size, found.partition.start
        try:
            root = read_root(stream, size=size, offset=start)
            if progress is not None:
                progress.step(f"read {name}", total=size + tree_size(size))
                tree, broken = _read_tree(stream, found, wanted or root, progress.advance)
            if programs and tree is not Tree.BROKEN:
                counted = look_at_programs(ErofsPackage(stream, name=name, offset=start), architecture)
        except DocumentError as error:
            problem = error.message
    return PartFound(slot=slot, part=part, partition=name, content=content, size=size, root=root, problem=problem,
                     against=wanted or root, tree=tree, broken=broken, programs=counted)


def _read_tree(stream: BinaryIO, found: DiskPartition, root: str, advance: Callable[[int], None]) -> tuple[Tree, str]:
    """Hold every block to the root; the first that is wrong in words."""
    start, size = found.partition.start, found.package_size
    try:
        verify(Counted(stream, advance), size=size, root_hash=root, offset=start)  # type: ignore[arg-type]
    except BadBlock as error:
        at = error.offset - start
        if at >= size:
            return Tree.BROKEN, f"the hash block at byte {at} does not match its digest"
        owner = _owner(stream, found, at)
        return Tree.BROKEN, (f"the block at byte {at} does not match its digest"
                             + (f"; it is of {owner}" if owner else ""))
    return Tree.WHOLE, ""


def _owner(stream: BinaryIO, found: DiskPartition, at: int) -> str | None:
    """Whose block it is, where the list of files still tells."""
    try:
        return Erofs(stream, name=found.name, offset=found.partition.start).file_at(at)
    except DocumentError:
        return None


class Counted(io.RawIOBase):
    """A stream that tells how much was read of it."""

    def __init__(self, stream: BinaryIO, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._stream, self._advance = stream, advance

    def read(self, size: int = -1, /) -> bytes:
        raw = self._stream.read(size)
        self._advance(len(raw))
        return raw

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)


def look_at_programs(package: ErofsPackage, architecture: str | None) -> Programs:
    """The ELF files of a package by architecture."""
    counts: Counter[str] = Counter()
    foreign: tuple[str, str] | None = None
    for entry, head in package.heads(HEAD_SIZE):
        found = decode_architecture(head)
        if found is None or entry.path.startswith(NOT_RUN):
            continue
        counts[found] += 1
        if foreign is None and architecture is not None and found != architecture:
            foreign = (entry.path, found)
    return Programs(counts=dict(counts), foreign=foreign)


def look_at_kernels(stream: BinaryIO, image: DiskImage, esp: EspFound,
                    parts: Iterable[PartFound]) -> tuple[KernelFound, ...]:
    """The kernel image of every slot that has an entry."""
    esp_at = boot_partition(image)
    if esp.problem or esp_at is None:
        return ()
    volume = read_fat(stream, esp_at.partition.start, name=esp_at.name)
    wanted = {item.slot for item in esp.entries}
    return tuple(_kernel(stream, image, volume, item) for item in parts
                 if item.part == "kernel" and item.slot in wanted)


def _kernel(stream: BinaryIO, image: DiskImage, volume: FatVolume, part: PartFound) -> KernelFound:
    path = kernel_path(part.slot)
    architecture, version, equal, problem = None, None, None, ""
    try:
        content = volume.read(path, limit=KERNEL_MOST)
        equal = _same(stream, image, part, hashlib.sha256(content).hexdigest())
        architecture = efi_architecture(content, name=f"/{path}")
        uki = decode_uki(content, name=f"/{path}")
        if ".uname" in uki.names:
            version = uki.section(".uname").rstrip(b"\0\n").decode("ascii", "replace")
    except DocumentError as error:
        problem = error.message
    return KernelFound(slot=part.slot, path=path, architecture=architecture, version=version, equal=equal,
                       problem=problem)


def _same(stream: BinaryIO, image: DiskImage, part: PartFound, digest: str) -> bool | None:
    """Whether the slot's kernel package has an image with this digest; None: it cannot be read."""
    found = image.find(part.partition)
    if found is None or not part.size or part.tree is Tree.BROKEN:
        return None
    try:
        return sha256(Erofs(stream, name=found.name, offset=found.partition.start).open(KERNEL_IMAGE)) == digest
    except DocumentError:
        return None
