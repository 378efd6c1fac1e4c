"""What a device with a given disk does when it gets power: the loader's model, the initrd's, and a look at every byte.

The oracle of the power-cut proof. A slot may only be started when all of it verifies: base and kernel against the roots
that the loader hands over, its boot files against the kernel package. So a slot that was opened too early is found at
the first state in which it could be started, whether or not the device would get away with it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

from imagekit.boot.entries import ENTRY_FOLDER, LoaderEntry, kernel_path, parse_entry, sector_with_version
from imagekit.boot.slotstate import COPY_OFFSETS, Slot, SlotState, begin_boot, encode_record, mark_healthy, newest, stay
from imagekit.boot.systemd_boot import candidates, choose, parse_name, slot_of
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, decide, decode_env, is_sound
from imagekit.disk.fat_read import read_fat
from imagekit.disk.verity import verify
from imagekit.errors import ImagekitError
from imagekit.packages.erofs import Erofs

BOOTS = 14
NEEDED = ("Image", "initrd", DEVICE_TREE)
VerdictTold = Callable[[Slot, tuple[str, str], bool], None]


class Unverified(AssertionError):
    """A slot was offered to the loader that is not whole."""


class Lost(AssertionError):
    """Nothing comes up any more."""


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
        at = COPY_OFFSETS[newest(self.copies)[1]]
        raw = self.partitions["slot-state"]
        self.partitions["slot-state"] = raw[:at] + encode_record(state) + raw[at + 512:]

    def entries(self) -> dict[str, bytes]:
        return {path.rpartition("/")[2]: raw for path, raw in self.esp.items() if path.startswith(ENTRY_FOLDER)}

    def volume(self, slot: Slot) -> dict[str, bytes]:
        try:
            fat = read_fat(io.BytesIO(self.partitions[f"boot-{slot.value}"]))
            return {entry.path: fat.read(entry.path) for entry in fat.walk() if not entry.is_dir}
        except ImagekitError:
            return {}


def boot_until_healthy(state: DiskState, told: VerdictTold = lambda slot, roots, healthy: None
                       ) -> tuple[Slot, tuple[str, str]]:
    """Start over and over; changes `state` as the device does. The slot that got healthy, and its roots.

    Raises:
        Unverified: a slot was started that is not whole.
        Lost: none got healthy.
    """
    boot = _boot_systemd if state.loader == "systemd-boot" else _boot_uboot
    for _ in range(BOOTS):
        started = boot(state)
        if started is None:
            continue
        slot, roots = started
        check_whole(state, slot, roots)
        healthy = not state.sick & set(roots)
        if healthy:
            _confirm(state, slot)
        told(slot, roots, healthy)
        if healthy:
            return slot, roots
    raise Lost("no slot got healthy")


def check_offered(state: DiskState) -> None:
    """Every slot that the loader could start is whole, also those that it takes only when another fails.

    Raises:
        Unverified: one is not.
    """
    if state.loader == "systemd-boot":
        menu = candidates(state.entries(), _programs(state))
        for item in menu:
            entry = _entry(state.entries()[item.file_name], item.file_name)
            check_whole(state, entry.slot, (entry.base_root, entry.kernel_root))
        return
    for slot in Slot:
        files = state.volume(slot)
        if is_sound(files, slot, NEEDED):
            check_whole(state, slot, _roots(files))


def _programs(state: DiskState) -> frozenset[str]:
    return frozenset(path for path, raw in state.esp.items() if raw)


def _entry(raw: bytes, name: str) -> LoaderEntry:
    try:
        return parse_entry(raw, name=name)
    except ImagekitError as error:
        raise Unverified(f"the loader starts {name}, which is not whole: {error}") from error


def _roots(files: dict[str, bytes]) -> tuple[str, str]:
    words = decode_env(files[ENV_NAME], name=ENV_NAME)["bootargs"].split()
    own = dict(word.split("=", 1) for word in words if word.startswith("imagekit."))
    return own["imagekit.base"], own["imagekit.kernel"]


def _boot_systemd(state: DiskState) -> tuple[Slot, tuple[str, str]] | None:
    choice = choose(state.entries(), _programs(state))
    if choice is None:
        raise Lost("the loader's menu is empty")
    name = choice.entry.file_name
    raw = state.esp.pop(f"{ENTRY_FOLDER}/{name}")
    state.esp[f"{ENTRY_FOLDER}/{choice.renamed_to}"] = raw
    slot = slot_of(name)
    assert slot is not None
    entry = _entry(raw, name)
    record = newest(state.copies)[0]
    step = begin_boot(record, slot)
    if step.hand_over:
        other = f"{ENTRY_FOLDER}/imagekit-{slot.other.value}.conf"
        if other in state.esp and state.esp.get(kernel_path(slot.other)):
            top = max(parse_entry(item, name=key).version for key, item in state.entries().items() if item)
            there = state.esp[other]
            state.esp[other] = sector_with_version(there, top + 1) + there[512:]
            state.put_record(step.record)
            return None
        state.put_record(stay(record, slot))
    else:
        state.put_record(step.record)
    return slot, (entry.base_root, entry.kernel_root)


def _boot_uboot(state: DiskState) -> tuple[Slot, tuple[str, str]] | None:
    files = {slot: state.volume(slot) for slot in Slot}
    found = decide(state.copies, {slot for slot in Slot if is_sound(files[slot], slot, NEEDED)})
    if found.slot is None or found.record is None:
        raise Lost("neither slot can be loaded")
    state.put_record(found.record)
    return found.slot, _roots(files[found.slot])


def check_whole(state: DiskState, slot: Slot, roots: tuple[str, str]) -> None:
    """Raises: Unverified: a byte of the slot is not what its roots stand for."""
    for part, root in zip(("base", "kernel"), roots, strict=True):
        stream = io.BytesIO(state.partitions[f"{part}-{slot.value}"])
        try:
            verify(stream, size=Erofs(stream).size, root_hash=root)
        except ImagekitError as error:
            raise Unverified(f"slot {slot.value} is started and its {part} does not verify: {error}") from error
    package = Erofs(io.BytesIO(state.partitions[f"kernel-{slot.value}"]))
    if state.loader == "systemd-boot":
        if state.esp.get(kernel_path(slot)) != package.read("kernel.efi"):
            raise Unverified(f"slot {slot.value} is started by another kernel image than its package's")
        return
    for name, raw in state.volume(slot).items():
        path = "dtbs/vendor/board.dtb" if name == DEVICE_TREE else name
        if name != ENV_NAME and raw != package.read(path):
            raise Unverified(f"slot {slot.value} is started by another {name} than its package's")


def _confirm(state: DiskState, slot: Slot) -> None:
    """The health check: the entry loses its counter, the record is cleared."""
    for path in [path for path in state.esp if path.startswith(ENTRY_FOLDER)]:
        name = path.rpartition("/")[2]
        if slot_of(name) is slot and parse_name(name).left is not None:
            state.esp[f"{ENTRY_FOLDER}/{parse_name(name).blessed.text}"] = state.esp.pop(path)
    record = newest(state.copies)[0]
    assert record is not None
    assert record.slot is slot
    state.put_record(mark_healthy(record))
