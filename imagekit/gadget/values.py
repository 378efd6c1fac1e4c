"""What a gadget declares: its volumes, their structures and the content of each.

Values only, made by `imagekit.gadget.parse` and never by hand elsewhere: past it every rule of the format holds.
Sizes and offsets are bytes. Structures are in the order of the disk, not always that of the document.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Schema(Enum):
    """The kind of partition table."""

    GPT = "gpt"
    MBR = "mbr"
    EMMC = "emmc"  # the boot areas of an eMMC: no table at all


class Bootloader(Enum):
    """The bootloaders that the format knows; ours (systemd-boot) is named in `Extension`."""

    GRUB = "grub"
    U_BOOT = "u-boot"
    ANDROID_BOOT = "android-boot"
    LK = "lk"
    PIBOOT = "piboot"


class Role(Enum):
    """What a structure is to the system."""

    MBR = "mbr"
    BOOT = "system-boot"
    DATA = "system-data"
    SEED = "system-seed"
    SEED_NULL = "system-seed-null"
    SAVE = "system-save"
    BOOT_STATE = "system-boot-state"
    BOOT_IMAGE = "system-boot-image"
    BOOT_SELECT = "system-boot-select"
    SEED_IMAGE = "system-seed-image"
    SEED_SELECT = "system-seed-select"
    LEGACY_BOOT_IMAGE = "bootimg"
    LEGACY_BOOT_SELECT = "bootselect"


class Filesystem(Enum):
    """`vfat` of the document is `vfat-32`, its meaning."""

    NONE = "none"
    EXT4 = "ext4"
    VFAT16 = "vfat-16"
    VFAT32 = "vfat-32"

    @property
    def is_vfat(self) -> bool:
        """Either FAT: their labels compare without case."""
        return self in (Filesystem.VFAT16, Filesystem.VFAT32)


class Era(Enum):
    """Which generation of rules applies; the model decides it."""

    NONE = "no model"
    UC16 = "UC16/18"
    UC20 = "UC20+"
    CLASSIC = "classic with modes"


class Part(Enum):
    """What of a slot a structure holds (`x-imagekit`)."""

    BASE = "base"
    KERNEL = "kernel"
    BOOT = "boot"  # boot files of a kernel as a FAT image written whole
    STATE = "state"  # the slot-state record; belongs to no slot


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureType:
    """Partition type: for MBR tables, for GPT, or both; neither means outside the table (`bare`, `mbr`)."""

    mbr: int | None = None
    guid: uuid.UUID | None = None

    @property
    def in_table(self) -> bool:
        return self.mbr is not None or self.guid is not None

    def __str__(self) -> str:
        parts = [f"{self.mbr:02X}"] if self.mbr is not None else []
        parts += [str(self.guid).upper()] if self.guid is not None else []
        return ",".join(parts) or "bare"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """A file or directory of the gadget (or `$kernel:asset/path`) that lands in a file system."""

    source: str
    target: str
    unpack: bool = False

    @property
    def is_directory(self) -> bool:
        return self.source.endswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawContent:
    """An image of the gadget written as it is; `offset` counts from the start of the structure."""

    image: str
    offset: int | None = None
    size: int | None = None
    unpack: bool = False


Content = FileContent | RawContent


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Content is rewritten on a refresh only if the edition rose."""

    edition: int = 0
    preserve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetWrite:
    """Where the structure's start, in sectors, is written as 4 bytes little-endian; in a structure or on the disk."""

    relative_to: str | None
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One extent of a volume as the gadget declares it."""

    name: str
    index: int  # in the document
    type: StructureType
    role: Role | None
    size: int | None  # None: a partial volume leaves it to the device
    min_size: int | None
    offset: int | None  # None: behind the one before
    offset_write: OffsetWrite | None
    filesystem: Filesystem | None
    label: str | None
    id: str | None
    content: tuple[Content, ...]
    update: Update
    legacy_mbr: bool = False  # written as `type: mbr`

    @property
    def is_partition(self) -> bool:
        """Whether the partition table has an entry for it."""
        return self.type.in_table and self.role is not Role.MBR

    @property
    def title(self) -> str:
        """The name, or the place in the document for a structure that has none."""
        return self.name or f"#{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One disk."""

    name: str
    schema: Schema | None  # None: partial
    bootloader: Bootloader | None
    id: str | None
    partial: frozenset[str]
    structures: tuple[Structure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPart:
    """What a structure is to our A/B scheme."""

    part: Part
    slot: str | None  # "a", "b"; None for the state


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Our own top-level key `x-imagekit`, which other readers ignore."""

    bootloader: str
    cmdline: str
    structures: Mapping[str, SlotPart]
    gpt_entries: int | None = None  # of the bootloader's volume; None: as many as usual
    gpt_entries_at: int | None = None  # the byte where they begin; None: right behind the table's header
    slot_files: tuple[str, ...] = ()  # of the gadget, that every slot's boot files have too
    device_tree: str | None = None  # below dtbs/ of the kernel package; None: what the bootloader was given
    hybrid_mbr: tuple[str, ...] = ()  # structures that the MBR beside the GPT lists, in its order
    addresses: Mapping[str, int] = field(default_factory=dict)  # where U-Boot's script loads to; else by its variables

    @property
    def unpacks(self) -> bool:
        """Whether U-Boot gets the kernel compressed."""
        return "unpack" in self.addresses

    def named(self, part: Part, slot: str | None) -> str | None:
        """The structure that holds `part` of `slot`."""
        for name, held in self.structures.items():
            if (held.part, held.slot) == (part, slot):
                return name
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An interface connection that the gadget asks for; a missing slot means the system's own."""

    plug: str
    slot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCmdline:
    """What the gadget allows, appends to and removes from the kernel command line."""

    allow: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gadget:
    """A parsed `meta/gadget.yaml`."""

    era: Era
    volumes: tuple[Volume, ...]
    defaults: Mapping[str, Mapping[str, object]]
    connections: tuple[Connection, ...]
    kernel_cmdline: KernelCmdline
    extension: Extension | None

    @property
    def boot_volume(self) -> Volume:
        """The one volume with a bootloader."""
        return next(volume for volume in self.volumes if volume.bootloader is not None)
