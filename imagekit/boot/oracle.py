"""What a device does when it gets power, over and over, until a slot is healthy: loader, initrd and health check.

Decides nothing itself: the loader's model says what is started (`systemd_boot`, `uboot`), `slotstate` what the initrd
and a healthy verdict make of it. Here one follows the other, on values. Whether a slot's bytes are whole is asked of
the caller, who has the disk; a slot that may be started and is not whole is an error, whether or not the device would
get away with it. Serves the proofs about power cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from imagekit.boot.autoboot import AUTOBOOT_NAME, Autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry, entry_name, kernel_path, parse_entry, sector_with_version
from imagekit.boot.piboot import BOARDS, Card, Rules
from imagekit.boot.piboot import choose as choose_partition
from imagekit.boot.pislot import parse_cmdline
from imagekit.boot.slotstate import Slot, SlotState, begin_boot, encode_record, mark_healthy, newest, stay
from imagekit.boot.systemd_boot import candidates, choose, parse_name, slot_of
from imagekit.boot.uboot import decide
from imagekit.errors import ImagekitError, TargetError

BOOTS = 14  # more than any way back takes
SYSTEMD_BOOT, U_BOOT, PIBOOT = "systemd-boot", "u-boot", "piboot"
PI_RULES = tuple(Rules(tryboot_a_b=True, partition_walk=walks) for walks in (False, True))
Roots = tuple[str, str]  # of base and kernel


class Lost(TargetError):
    """Nothing comes up any more."""


class Unverified(TargetError):
    """The loader may start a slot that is not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootable:
    """What loader and initrd see of a disk.

    `entries`: the files of loader/entries; `programs`: paths of files on the ESP that are not empty; `sound`: where
    U-Boot boots, the slots whose files are as `slot.env` measures them, with the roots that it hands over; `card`:
    where the Raspberry Pi's firmware boots, what it sees, the slots in the partitions of `numbers`.
    """

    loader: str
    copies: tuple[bytes, bytes]
    entries: Mapping[str, bytes] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    sound: Mapping[Slot, Roots] = field(default_factory=dict)
    card: Card = field(default_factory=dict)
    numbers: Mapping[Slot, int] = field(default_factory=dict)

    @property
    def record(self) -> SlotState | None:
        return newest(self.copies)[0]

    def with_record(self, state: SlotState) -> Bootable:
        """The record written over the older copy."""
        copies = list(self.copies)
        copies[newest(self.copies)[1]] = encode_record(state)
        return replace(self, copies=(copies[0], copies[1]))

    def with_entries(self, entries: Mapping[str, bytes]) -> Bootable:
        return replace(self, entries=entries)

    def naming(self, slot: Slot) -> Bootable:
        """`autoboot.txt` overwritten, so that it names this slot."""
        raw = encode_autoboot(Autoboot(boot=self.numbers[slot], trial=self.numbers[slot.other]))
        first = self.card[1]
        return replace(self, card={**self.card, 1: replace(
            first, names=first.names | {AUTOBOOT_NAME}, texts={**first.texts, AUTOBOOT_NAME: raw})})


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One boot: `slot` with `roots` by `entry`, and the disk once it has begun. `handed_over`: it only sent on."""

    slot: Slot
    roots: Roots
    entry: str
    handed_over: bool
    after: Bootable


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """All boots up to the healthy one, and the disk then."""

    boots: tuple[Started, ...]
    after: Bootable

    @property
    def slot(self) -> Slot:
        return self.boots[-1].slot

    @property
    def roots(self) -> Roots:
        return self.boots[-1].roots


def recover(disk: Bootable, check: Callable[[Slot, Roots], None], *, sick: Callable[[Roots], bool] = lambda _: False,
            told: Callable[[Started, bool], None] = lambda _, __: None) -> Recovery:
    """Start until a slot is healthy; `sick` slots are not, `told` hears of every verdict.

    Raises:
        Lost: none got healthy.
        Unverified: by `check`, when a slot that was started is not whole.
    """
    boots: list[Started] = []
    for _ in range(BOOTS):
        started = start(disk)
        boots.append(started)
        disk = started.after
        if started.handed_over:
            continue
        check(started.slot, started.roots)
        healthy = not sick(started.roots)
        if healthy:
            disk = confirm(disk, started.slot)
        told(started, healthy)
        if healthy:
            return Recovery(boots=tuple(boots), after=disk)
    raise Lost("no slot got healthy")


def check_offered(disk: Bootable, check: Callable[[Slot, Roots], None]) -> None:
    """Check every slot that the loader could start, also those that it takes only when another fails.

    Raises:
        Unverified: by `check`, or an entry in the menu says nothing of a slot.
    """
    for slot, roots in offered(disk):
        check(slot, roots)


def offered(disk: Bootable) -> Iterator[tuple[Slot, Roots]]:
    """Slots that the loader could start. Raises: Unverified: an entry in its menu is damaged."""
    if disk.loader == U_BOOT:
        yield from disk.sound.items()
        return
    if disk.loader == PIBOOT:
        for rules in PI_RULES:
            if (entry := _by_firmware(disk, rules)) is not None:
                yield entry.slot, (entry.base_root, entry.kernel_root)
        return
    for item in candidates(disk.entries, disk.programs):
        entry = _entry(disk.entries[item.file_name], item.file_name)
        yield entry.slot, (entry.base_root, entry.kernel_root)


def start(disk: Bootable) -> Started:
    """One boot, up to where the slot's system begins. Raises: Lost, Unverified: there is nothing right to start."""
    return {U_BOOT: _start_uboot, PIBOOT: _start_piboot, SYSTEMD_BOOT: _start_systemd}[disk.loader](disk)


def confirm(disk: Bootable, slot: Slot) -> Bootable:
    """What a healthy verdict leaves: the entry without its counter, or the slot's name; the record cleared."""
    entries = {parse_name(name).blessed.text if slot_of(name) is slot else name: raw
               for name, raw in disk.entries.items()}
    record = disk.record
    assert record is not None
    assert record.slot is slot
    disk = disk.with_entries(entries).with_record(mark_healthy(record))
    return disk.naming(slot) if disk.loader == PIBOOT else disk


def _entry(raw: bytes, name: str) -> LoaderEntry:
    try:
        return parse_entry(raw, name=name)
    except ImagekitError as error:
        raise Unverified(f"the loader starts {name}, which is not whole: {error.message}") from error


def _start_systemd(disk: Bootable) -> Started:
    choice = choose(disk.entries, disk.programs)
    if choice is None:
        raise Lost("the loader's menu is empty")
    name = choice.entry.file_name
    raw = disk.entries[name]
    disk = disk.with_entries({choice.renamed_to if key == name else key: item for key, item in disk.entries.items()})
    slot = slot_of(name)
    if slot is None:
        raise Unverified(f"the loader starts {name}, which is the entry of no slot")
    entry = _entry(raw, name)
    roots = (entry.base_root, entry.kernel_root)
    step = begin_boot(disk.record, slot)
    other = entry_name(slot.other)
    if not step.hand_over:
        if step.rank_first and entry_name(slot) in disk.entries:
            disk = _first(disk, entry_name(slot))
        after = disk.with_record(step.record)
    elif other in disk.entries and kernel_path(slot.other) in disk.programs:
        return Started(slot=slot, roots=roots, entry=name, handed_over=True,
                       after=_first(disk, other).with_record(step.record))
    else:
        after = disk.with_record(stay(disk.record, slot))
    return Started(slot=slot, roots=roots, entry=name, handed_over=False, after=after)


def _first(disk: Bootable, name: str) -> Bootable:
    """This entry ranked above all others, in place."""
    top = max(_entry(item, key).version for key, item in disk.entries.items() if slot_of(key) is not None and item)
    raw = disk.entries[name]
    return disk.with_entries({**disk.entries, name: sector_with_version(raw, top + 1) + raw[512:]})


def _start_uboot(disk: Bootable) -> Started:
    found = decide(disk.copies, frozenset(disk.sound))
    if found.slot is None or found.record is None:
        raise Lost("neither slot can be loaded")
    copies = list(disk.copies)
    copies[found.copy] = encode_record(found.record)
    return Started(slot=found.slot, roots=disk.sound[found.slot], entry=f"boot-{found.slot.value}", handed_over=False,
                   after=replace(disk, copies=(copies[0], copies[1])))


def _by_firmware(disk: Bootable, rules: Rules) -> LoaderEntry | None:
    """What a Raspberry Pi 4 says to the kernel that it starts; None: it starts none."""
    found = choose_partition(disk.card, board=BOARDS["raspi4b"], rules=rules).load
    if found is None:
        return None
    try:
        return parse_cmdline(found.cmdline.encode(), name=f"partition {found.partition}")
    except ImagekitError as error:
        raise Unverified(f"the firmware starts partition {found.partition}: {error.message}") from error


def _start_piboot(disk: Bootable) -> Started:
    """By firmware that looks for no other partition than the one that is named, which all firmware can do."""
    entry = _by_firmware(disk, PI_RULES[0])
    if entry is None:
        raise Lost("the firmware finds nothing to start")
    slot, roots, name = entry.slot, (entry.base_root, entry.kernel_root), f"boot-{entry.slot.value}"
    step = begin_boot(disk.record, slot)
    if step.hand_over and disk.numbers[slot.other] in disk.card:
        return Started(slot=slot, roots=roots, entry=name, handed_over=True,
                       after=disk.naming(slot.other).with_record(step.record))
    if step.rank_first:
        disk = disk.naming(slot)
    after = disk.with_record(stay(disk.record, slot) if step.hand_over else step.record)
    return Started(slot=slot, roots=roots, entry=name, handed_over=False, after=after)
