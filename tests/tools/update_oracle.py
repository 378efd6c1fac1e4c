"""What a device with a given disk does when it gets power, and a look at every byte: the oracle of the power-cut proof.

The disk is partitions as bytes and an ESP as files; what happens at boot is `imagekit.boot.oracle`'s. A slot may only
be started when all of it verifies: base and kernel against the roots that the loader hands over, its boot files against
the kernel package.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imagekit.boot import oracle
from imagekit.boot.autoboot import AUTOBOOT_NAME
from imagekit.boot.entries import ENTRY_FOLDER, kernel_path
from imagekit.boot.oracle import PIBOOT, SYSTEMD_BOOT, Bootable, Roots, Unverified, recover
from imagekit.boot.piboot import TEXTS, Partition
from imagekit.boot.pislot import is_of_kernel, is_whole
from imagekit.boot.slotstate import COPY_OFFSETS, Slot, SlotState, encode_record, newest
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, env_roots, is_sound
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.verity import verify
from imagekit.errors import ImagekitError
from imagekit.packages.erofs import Erofs
from tests.tools.update_vfat import Vfat

NEEDED = ("Image", "initrd", DEVICE_TREE)
NUMBERS = {Slot.A: 2, Slot.B: 3}  # of the partitions, where the Raspberry Pi's firmware boots
VerdictTold = Callable[[Slot, Roots, bool], None]


@dataclass(kw_only=True)
class DiskState:
    """A disk: partitions by name, the files of the ESP by path. Slots with a base root in `sick` never get healthy."""

    loader: str
    partitions: dict[str, bytes]
    esp: dict[str, bytes]
    sick: frozenset[str] = field(default_factory=frozenset)

    def copy(self) -> DiskState:
        return DiskState(loader=self.loader, partitions=dict(self.partitions), esp=dict(self.esp), sick=self.sick)

    @property
    def copies(self) -> tuple[bytes, bytes]:
        raw = self.partitions["slot-state"]
        first, second = (raw[offset:offset + 512] for offset in COPY_OFFSETS)
        return first, second

    def put_record(self, state: SlotState) -> None:
        self._put_copy(newest(self.copies)[1], encode_record(state))

    def _put_copy(self, copy: int, record: bytes) -> None:
        at, raw = COPY_OFFSETS[copy], self.partitions["slot-state"]
        self.partitions["slot-state"] = raw[:at] + record + raw[at + len(record):]

    def volume(self, slot: Slot) -> dict[str, bytes]:
        try:
            fat = read_fat(io.BytesIO(self.partitions[f"boot-{slot.value}"]))
            return {entry.path: fat.read(entry.path) for entry in fat.walk() if not entry.is_dir}
        except ImagekitError:
            return {}

    def unmount(self) -> None:
        """Bring what the files of the ESP are into its partition."""
        volume = Vfat(self.partitions["esp"], lambda sector, data: None)
        there = self._on_esp()
        for path in there.keys() - self.esp.keys():
            volume.remove(path)
        for path, raw in sorted(self.esp.items()):
            if there.get(path) != raw:
                volume.create(path, raw)
        volume.sync_all()
        self.partitions["esp"] = bytes(volume.cache)

    def mount(self) -> None:
        """Read the files of the ESP out of its partition."""
        self.esp = self._on_esp()

    def _on_esp(self) -> dict[str, bytes]:
        fat = read_fat(io.BytesIO(self.partitions["esp"]))
        return {entry.path: _content(fat, entry.path) for entry in fat.walk() if not entry.is_dir}

    def assets(self) -> dict[str, bytes]:
        """The gadget's boot files by their names in the gadget."""
        if self.loader == SYSTEMD_BOOT:
            paths = {"systemd-bootx64.efi": "EFI/BOOT/BOOTX64.EFI", "loader.conf": "loader/loader.conf",
                     "startup.nsh": "startup.nsh"}
            return {name: self.esp.get(path, b"") for name, path in paths.items()}
        fat = read_fat(io.BytesIO(self.partitions["boot"]))
        return {"u-boot.bin": _content(fat, "u-boot.bin")}

    @property
    def bootable(self) -> Bootable:
        """What the loader sees."""
        if self.loader == SYSTEMD_BOOT:
            entries = {path.rpartition("/")[2]: raw for path, raw in self.esp.items() if path.startswith(ENTRY_FOLDER)}
            return Bootable(loader=self.loader, copies=self.copies, entries=entries,
                            programs=frozenset(path for path, raw in self.esp.items() if raw))
        files = {slot: self.volume(slot) for slot in Slot}
        if self.loader == PIBOOT:
            seen = {NUMBERS[slot]: _as_partition(found) for slot, found in files.items() if found}
            return Bootable(loader=self.loader, copies=self.copies, numbers=NUMBERS,
                            card={1: _as_partition(self.esp), **seen})
        return Bootable(loader=self.loader, copies=self.copies, sound={
            slot: env_roots(found) for slot, found in files.items() if is_sound(found, slot, NEEDED)})

    def take(self, left: Bootable) -> None:
        """Be what a boot left."""
        for copy, record in enumerate(left.copies):
            self._put_copy(copy, record)
        if self.loader == SYSTEMD_BOOT:
            others = {path: raw for path, raw in self.esp.items() if not path.startswith(ENTRY_FOLDER)}
            self.esp = others | {f"{ENTRY_FOLDER}/{name}": raw for name, raw in left.entries.items()}
        if self.loader == PIBOOT:
            self.esp = {**self.esp, AUTOBOOT_NAME: left.card[1].texts[AUTOBOOT_NAME]}


def _as_partition(files: Mapping[str, bytes]) -> Partition:
    """Files by name, as the firmware sees them."""
    named = {name.lower(): raw for name, raw in files.items()}
    return Partition(names=frozenset(named), texts={name: raw for name, raw in named.items() if name in TEXTS})


def _content(fat: FatVolume, path: str) -> bytes:
    """A file; nothing where its chain is broken."""
    try:
        return fat.read(path)
    except ImagekitError:
        return b""


def boot_until_healthy(state: DiskState, told: VerdictTold = lambda slot, roots, healthy: None) -> tuple[Slot, Roots]:
    """Start over and over; changes `state` as the device does. The slot that got healthy, and its roots.

    Raises:
        Unverified: a slot was started that is not whole.
        Lost: none got healthy.
    """
    found = recover(state.bootable, lambda slot, roots: check_whole(state, slot, roots),
                    sick=lambda roots: bool(state.sick & set(roots)),
                    told=lambda boot, healthy: told(boot.slot, boot.roots, healthy))
    state.take(found.after)
    return found.slot, found.roots


def check_offered(state: DiskState) -> None:
    """Every slot that the loader could start is whole. Raises: Unverified: one is not."""
    oracle.check_offered(state.bootable, lambda slot, roots: check_whole(state, slot, roots))


def check_whole(state: DiskState, slot: Slot, roots: Roots) -> None:
    """Raises: Unverified: a byte of the slot is not what its roots stand for."""
    for part, root in zip(("base", "kernel"), roots, strict=True):
        stream = io.BytesIO(state.partitions[f"{part}-{slot.value}"])
        try:
            verify(stream, size=Erofs(stream).size, root_hash=root)
        except ImagekitError as error:
            raise Unverified(f"slot {slot.value} is started and its {part} does not verify: {error}") from error
    package = Erofs(io.BytesIO(state.partitions[f"kernel-{slot.value}"]))
    if state.loader == SYSTEMD_BOOT:
        if state.esp.get(kernel_path(slot)) != package.read("kernel.efi"):
            raise Unverified(f"slot {slot.value} is started by another kernel image than its package's")
        return
    files = state.volume(slot)
    if state.loader == PIBOOT:
        if not is_whole(files, slot):
            raise Unverified(f"slot {slot.value} is started and slot.sum does not describe its files")
        for name, raw in files.items():
            path = f"dtbs/broadcom/{name}" if name.endswith(".dtb") else name
            if is_of_kernel(name) and raw != package.read(path):
                raise Unverified(f"slot {slot.value} is started by another {name} than its package's")
        return
    for name, raw in files.items():
        path = "dtbs/vendor/board.dtb" if name == DEVICE_TREE else name
        if name != ENV_NAME and raw != package.read(path):
            raise Unverified(f"slot {slot.value} is started by another {name} than its package's")
