"""What goes into each structure of an image: the boot files, the seed, the slots, the record, the gadget's own files.

One function for each kind of structure: out of a `Contents`, what is known of the packages' insides, come the writes,
ascending. What a slot and the ESP hold is decided in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from imagekit.boot.entries import ENTRY_FOLDER, LoaderEntry, encode_entry, entry_name, kernel_path, slot_folder
from imagekit.boot.slotstate import FACTORY, PARTITION_LEAST, TRIES, Slot, encode_partition
from imagekit.boot.uboot import SCRIPT_NAME
from imagekit.digests import derived_uuid
from imagekit.disk.fat_boot import fat_type
from imagekit.disk.fat_write import FatFile, FatPlan, plan_fat
from imagekit.disk.verity import tree_size
from imagekit.errors import PlanError
from imagekit.gadget import Extension, FileContent, Filesystem, Gadget, Part, RawContent, Role, Structure
from imagekit.gadget.content_check import KernelMismatch, resolve_reference
from imagekit.gadget.content_files import inside, landing_files, overlaps, raw_images
from imagekit.packages.kernelyaml import NOTHING_OFFERED, KernelContents, is_reference
from imagekit.plan import piboot, uboot
from imagekit.plan.bootfiles import not_a_gadgets
from imagekit.plan.layout import Placement, VolumeLayout
from imagekit.plan.resolve import Resolution, ResolvedPackage
from imagekit.plan.seed import seed_files
from imagekit.plan.tables import DiskTable, entry_at, plan_table
from imagekit.plan.writes import Copy, Literal, MakeExt4, PackageMember, PackageWrite, SeedFile, Write, Zeros
from imagekit.units import iec

KERNEL_IMAGE = "kernel.efi"
SLOT_BACKENDS = (uboot.BACKEND, piboot.BACKEND)  # their slots have boot files in a FAT image of their own
FIRST_VERSION = 1  # of the loader entries: the generation

_Source = bytes | PackageMember | SeedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Insides:
    """What somebody who opened the packages found in them; `files` are the gadget's, by path.

    `kernel` is what references are resolved against; its files need not be known for a gadget that has none.
    `slot_files`, by name in the slot, are for a gadget whose loader takes the kernel's files apart.
    """

    gadget: Gadget
    files: Mapping[str, bytes]
    kernel_image_size: int
    kernel: KernelContents = NOTHING_OFFERED
    slot_files: Mapping[str, uboot.SlotFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything the structures are filled from."""

    resolution: Resolution
    insides: Insides
    layout: VolumeLayout
    model_digest: str
    timestamp: datetime

    @property
    def base(self) -> ResolvedPackage:
        return self.resolution.of(self.resolution.model.base_snap)

    @property
    def kernel(self) -> ResolvedPackage:
        return self.resolution.of(self.resolution.model.kernel)

    def uuid(self, *parts: str) -> UUID:
        """The identifier of a thing in this image."""
        return derived_uuid(self.model_digest, *parts)

    @property
    def table(self) -> DiskTable:
        """The partition table; its identifiers are derived where the gadget declares none."""
        return plan_table(self.layout, disk=self.uuid("disk", self.layout.volume.name), unique=self._unique,
                          hybrid=self.extension.hybrid_mbr)

    def _unique(self, structure: Structure) -> UUID:
        return UUID(structure.id) if structure.id else self.uuid(structure.name or f"#{structure.index}")

    @property
    def extension(self) -> Extension:
        """Our own key of the gadget; images are planned only where it is."""
        extension = self.insides.gadget.extension
        assert extension is not None
        return extension

    @property
    def state_partuuid(self) -> str:
        """By which a device finds its slot-state partition."""
        name = self.extension.named(Part.STATE, None)
        assert name is not None
        return self.partuuid(name)

    @property
    def entry(self) -> LoaderEntry:
        """How the first slot is booted."""
        return LoaderEntry(slot=Slot.A, version=FIRST_VERSION, base_root=signed_root(self.base),
                           kernel_root=signed_root(self.kernel), state_partuuid=self.state_partuuid,
                           cmdline=self.extension.cmdline)

    def partuuid(self, name: str) -> str:
        """By which Linux finds the partition called `name`. Raises: PlanError: it is outside the table."""
        entry = entry_at(self.table, self.layout.named(name).start)
        if entry is None:
            raise PlanError(f"cannot find structure {name!r} on a device: it is outside the partition table",
                            hint="give it a partition type instead of bare")
        return entry.id


def fill(contents: Contents, placement: Placement) -> tuple[Write, ...]:
    """The writes of one structure; none for a slot that is left empty.

    Raises:
        PlanError: the content does not fit, is missing, or is of a kind that images do not have yet.
    """
    structure = placement.structure
    extension = contents.insides.gadget.extension
    held = extension.structures.get(structure.name) if extension else None
    if held is not None:
        if structure.content:
            raise PlanError(f"cannot fill structure {structure.title!r}: x-imagekit makes it {held.part.value}, so it"
                            " has no content of its own")
        if held.part is Part.STATE:
            return state(placement)
        if held.part is Part.BOOT and extension is not None and extension.bootloader not in SLOT_BACKENDS:
            raise PlanError(f"cannot fill structure {structure.title!r}: part boot belongs to the backends"
                            f" {' and '.join(SLOT_BACKENDS)}",
                            hint="the boot files of systemd-boot lie on the ESP")
        if held.slot == Slot.B.value:
            return ()
        if held.part is Part.BOOT:
            return slot_volume(contents, placement)
        return slot(placement, contents.base if held.part is Part.BASE else contents.kernel)
    if structure.filesystem in (Filesystem.VFAT16, Filesystem.VFAT32):
        return fat(contents, placement)
    if structure.filesystem is Filesystem.EXT4:
        return ext4(contents, placement)
    if any(isinstance(content, FileContent) for content in structure.content):
        raise PlanError(f"cannot fill structure {structure.title!r}: its filesystem is partial, so its files have"
                        " nowhere to go", hint="give it a filesystem")
    return raw(contents, placement)


def state(placement: Placement) -> tuple[Write, ...]:
    """The slot-state record of a fresh device."""
    content = encode_partition(FACTORY)
    _must_fit(placement, PARTITION_LEAST, "the slot-state record with what lies behind it")
    return (Literal(offset=placement.start, content=content, what="slot-state record"),)


def slot(placement: Placement, package: ResolvedPackage) -> tuple[Write, ...]:
    """A package and its hash tree."""
    root = signed_root(package)
    tree = tree_size(package.file.size)
    _must_fit(placement, package.file.size + tree,
              f"{package.file_name} ({iec(package.file.size)} and a hash tree of {iec(tree)})")
    return (PackageWrite(offset=placement.start, package=package.file_name, size=package.file.size, tree_size=tree,
                         root_hash=root),)


def signed_root(package: ResolvedPackage) -> str:
    """The root hash of the package's signed revision."""
    root = package.verity_root
    if root is None:
        raise PlanError(f"cannot place {package.file_name}: its signed revision has no verity-root",
                        hint=f"sign it again: imagekit sign {package.file.path} -k KEY")
    return root


def fat(contents: Contents, placement: Placement) -> tuple[Write, ...]:
    """A FAT file system: the gadget's files, and what its role adds."""
    structure = placement.structure
    files: dict[str, bytes | PackageMember] = {}
    for path, source in gadget_files(contents, placement):
        content = source if isinstance(source, bytes) else None
        if structure.role is Role.BOOT and (why := not_a_gadgets(path, content)) is not None:
            raise PlanError(f"cannot fill structure {structure.title!r}: {why}",
                            hint="imagekit alone says what boots")
        files[path] = source  # the later of two counts, as snapd has it
    extra: dict[str, _Source | None] = {}
    if structure.role is Role.BOOT:
        extra = boot_files(contents)
    elif structure.role is Role.SEED:
        extra = {**seed_files(contents.resolution)}
    taken = {path.lower(): path for path in files}
    for path in extra:
        if path.lower() in taken:
            raise PlanError(f"cannot fill structure {structure.title!r}: the gadget's {taken[path.lower()]!r} lies"
                            f" where imagekit writes {path!r}")
    if structure.role is Role.BOOT and contents.extension.bootloader != uboot.BACKEND:
        _check_room(contents, placement, {**files, **extra})
    return _volume(contents, placement, structure.label or "", {**files, **extra})


def _check_room(contents: Contents, placement: Placement, files: Mapping[str, _Source | None]) -> None:
    """Raises: PlanError: the first update would find no room beside the kernel that is there."""
    both = {**files, **slot_files(contents, Slot.B, tries=TRIES)}
    try:
        _volume(contents, placement, "", both)
    except PlanError as error:
        raise PlanError(f"cannot give structure {placement.structure.title!r} the kernels of two slots:"
                        f" {error.message}", hint="raise its size in gadget.yaml: an update needs both") from error


def slot_volume(contents: Contents, placement: Placement) -> tuple[Write, ...]:
    """The boot files of slot a, as U-Boot or the Pi's firmware takes them: a FAT image of its own."""
    package, kernel = contents.kernel.file_name, contents.insides.slot_files
    if contents.extension.bootloader == piboot.BACKEND:
        own = {name: _gadget_file(contents, path, placement.structure.title)
               for name, path in piboot.own_files(contents.extension).items()}
        files = piboot.slot_files(contents.entry, kernel, own, package=package)
    else:
        files = uboot.slot_files(
            kernel, slot=Slot.A, package=package, base_root=signed_root(contents.base),
            kernel_root=signed_root(contents.kernel), state_partuuid=contents.state_partuuid,
            cmdline=contents.extension.cmdline)
    return _volume(contents, placement, f"{uboot.LABEL}{Slot.A.value}", files)


def _volume(contents: Contents, placement: Placement, label: str,
            files: Mapping[str, _Source | None]) -> tuple[Write, ...]:
    """A FAT file system over the whole structure, of the type that the gadget names; a slot's own names none.

    A file without a source is a folder.
    """
    filesystem = placement.structure.filesystem
    bits = None if filesystem is None else fat_type(placement.size, wide=filesystem is Filesystem.VFAT32)
    listed = [FatFile(path=path, source=source) for path, source in sorted(files.items())]
    volume_id = int.from_bytes(contents.uuid("volume-id", placement.structure.name).bytes[:4])
    try:
        plan = plan_fat(placement.size, label, volume_id, listed, time=contents.timestamp, bits=bits)
    except PlanError as error:
        raise PlanError(f"cannot fill structure {placement.structure.title!r}: {error.message}",
                        hint=error.hint or "raise its size in gadget.yaml") from error
    return tuple(_fat_writes(placement, plan))


def _fat_writes(placement: Placement, plan: FatPlan) -> Iterator[Write]:
    """The plan's extents, and between them the zeros that a reader relies on: free FAT entries, ends of directories."""
    what = f"FAT of {placement.structure.title}"
    geometry = plan.geometry
    written = 0
    for offset, source in plan.extents:
        if written < min(offset, geometry.data_start):
            end = min(offset, geometry.data_start)
            yield Zeros(offset=placement.start + written, length=end - written, what=what)
        start = placement.start + offset
        if isinstance(source, bytes):
            yield Literal(offset=start, content=source, what=what)
            written = offset + len(source)
        else:
            assert isinstance(source, PackageMember | SeedFile)
            yield Copy(offset=start, source=source, skip=0, length=source.size)
            written = offset + source.size
        tail = -(offset + len(source) - geometry.data_start) % geometry.cluster if isinstance(source, bytes) else 0
        if offset >= geometry.data_start and tail:
            yield Zeros(offset=placement.start + written, length=tail, what=what)
            written += tail
    if written < geometry.data_start:
        yield Zeros(offset=placement.start + written, length=geometry.data_start - written, what=what)


def boot_files(contents: Contents) -> dict[str, _Source | None]:
    """What the loader reads beside the gadget's content: what chooses the slot, or the first one's entry and kernel.

    The other one's folder is there too. Made on a device, a power cut could leave it without its first sectors, and
    Linux then holds the whole volume to be broken.
    """
    extension = contents.extension
    if extension.bootloader == uboot.BACKEND:
        return {SCRIPT_NAME: uboot.boot_script(
            extension, contents.layout, contents.table, architecture=contents.resolution.model.architecture or "",
            time=contents.timestamp)}
    if extension.bootloader == piboot.BACKEND:
        return {**piboot.autoboot_file(extension, contents.layout, contents.table)}
    return {**slot_files(contents, Slot.A), slot_folder(Slot.B): None}


def slot_files(contents: Contents, slot: Slot, *, tries: int | None = None) -> dict[str, _Source]:
    """What systemd-boot takes of a slot: its entry, and the kernel that it names."""
    return {
        f"{ENTRY_FOLDER}/{entry_name(slot, tries=tries)}": encode_entry(replace(contents.entry, slot=slot)),
        kernel_path(slot): PackageMember(package=contents.kernel.file_name, path=KERNEL_IMAGE,
                                         size=contents.insides.kernel_image_size),
    }


def check_references(contents: Contents) -> None:
    """Raises: PlanError: with every reference to the kernel that it does not answer."""
    problems = []
    for placement in contents.layout.placements:
        for content in placement.structure.content:
            if isinstance(content, FileContent) and is_reference(content.source):
                try:
                    resolve_reference(content, contents.insides.kernel)
                except KernelMismatch as error:
                    problems.append(f"structure {placement.structure.title!r}: {error.message}")
    if problems:
        hint = f"{contents.kernel.file_name} and the gadget do not fit together: see its meta/kernel.yaml"
        if len(problems) == 1:
            raise PlanError(f"cannot fill {problems[0]}", hint=hint)
        raise PlanError(f"cannot use {contents.kernel.file_name}: {len(problems)} references of the gadget have no"
                        " answer", details=tuple(problems), hint=hint)


def gadget_files(contents: Contents, placement: Placement) -> Iterable[tuple[str, bytes | PackageMember]]:
    """The files that gadget.yaml puts into a file system, by their path in it."""
    title = placement.structure.title
    sizes = {path: len(raw) for path, raw in contents.insides.files.items()}
    for content in placement.structure.content:
        assert isinstance(content, FileContent)
        if content.unpack:
            raise PlanError(f"cannot fill structure {title!r}: {content.source}: archives to unpack are not supported"
                            " yet")
        if is_reference(content.source):
            for found in resolve_reference(content, contents.insides.kernel):
                yield found.target, PackageMember(package=contents.kernel.file_name, path=found.source, size=found.size)
            continue
        landed = landing_files(content.source, content.target, sizes)
        if not landed and content.is_directory:
            raise PlanError(f"cannot fill structure {title!r}: the gadget has no files in {content.source}")
        if not landed:
            _gadget_file(contents, content.source, title)
        for found in landed:
            yield found.target, contents.insides.files[found.source]


def _gadget_file(contents: Contents, path: str, title: str) -> bytes:
    raw = contents.insides.files.get(inside(path))
    if raw is None:
        raise PlanError(f"cannot fill structure {title!r}: the gadget has no file {path}",
                        hint="gadget.yaml names it as content; correct the name, or add the file to the gadget")
    return raw


def ext4(contents: Contents, placement: Placement) -> tuple[Write, ...]:
    """An empty ext4 file system."""
    structure = placement.structure
    if structure.content:
        raise PlanError(f"cannot fill structure {structure.title!r}: content in ext4 is not supported yet",
                        hint="use vfat, or leave the content out")
    return (MakeExt4(offset=placement.start, length=placement.size, label=structure.label or "",
                     uuid=contents.uuid("filesystem", structure.title),
                     hash_seed=contents.uuid("hash-seed", structure.title)),)


def raw(contents: Contents, placement: Placement) -> tuple[Write, ...]:
    """The images of a structure without a file system, each behind the one before it unless it has an offset."""
    title = placement.structure.title
    images: dict[str, bytes] = {}
    content = tuple(item for item in placement.structure.content if isinstance(item, RawContent))
    for item in content:
        if item.unpack:
            raise PlanError(f"cannot fill structure {title!r}: {item.image}: archives to unpack are not supported")
        images[inside(item.image)] = _gadget_file(contents, item.image, title)
        size = len(images[inside(item.image)])
        if item.size is not None and size > item.size:
            raise PlanError(f"cannot fill structure {title!r}: {item.image} has {size} bytes, its declared size is"
                            f" {item.size}")
    places = raw_images(content, {path: len(found) for path, found in images.items()})
    for place in places:
        _must_fit(placement, place.end, place.image)
    for place, before in overlaps(places):
        raise PlanError(f"cannot fill structure {title!r}: {place.image} at {place.start} overlaps {before.image},"
                        f" which ends at {before.end}")
    return tuple(Literal(offset=placement.start + place.start, content=images[inside(place.image)], what=place.image)
                 for place in sorted(places, key=lambda item: item.start) if images[inside(place.image)])


def _must_fit(placement: Placement, needed: int, what: str) -> None:
    if needed > placement.size:
        raise PlanError(
            f"cannot fill structure {placement.structure.title!r}: {what} needs {needed} bytes ({iec(needed)}), it has"
            f" {placement.size} ({iec(placement.size)})", hint="raise the size of the structure in gadget.yaml")
