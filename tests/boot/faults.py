"""Everything that may be wrong with a slot: what is done to the disk, and what must come of it.

On trial: slot b is new and has three tries; it is broken, so that slot a, which ran before, must be healthy in the end.
Confirmed: both slots are good and slot a runs; it goes bad on the disk, so that slot b must be healthy in the end.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imagekit.boot.entries import ENTRY_FOLDER, encode_entry, kernel_path
from imagekit.boot.slotstate import LIMIT, TRIES, Slot
from imagekit.packages.uki import decode_uki
from imagekit.qemu.surgery import Disk, Spot
from imagekit.qemu.surgery_piboot import set_slot_roots
from tests.boot import uboot_slots
from tests.boot.boards import BOARDS, PC, Board, Counts
from tests.boot.stock import Stock

ROT_SEEDS = range(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to break a disk. `begun`: boots of the bad slot that the record already counts when the test begins."""

    name: str
    trial: bool
    wound: Callable[[Disk, Stock], object]
    begun: int = 0
    tries: int = TRIES  # how many of the loader's tries are used up
    detour: bool = False  # the loader or the firmware passes over the slot, at its first boot; the initrd has no part
    cause: str = ""  # how one boot after a failed one begins; as the board resets, unless told
    board: Board = PC

    def __str__(self) -> str:
        return self.name if self.board is PC else f"{self.board}-{self.name}"

    @property
    def boots(self) -> int:
        """How many boots it takes to be healthy in the end."""
        if not self.tries:
            return 1
        if self.detour:
            return 2
        if self.trial and self.board.counts is not Counts.PIBOOT:  # there only an initrd leads away
            return self.tries + 1
        return LIMIT - self.begun + (1 if self.board.uboot else 2)  # U-Boot hands over without a boot for it

    @property
    def survivor(self) -> str:
        """The slot that must be healthy in the end."""
        return "a" if self.trial else "b"


def install(disk: Disk, stock: Stock, *, base: Path | None = None, cmdline: str | None = None) -> None:
    stock.filler(disk)(Slot.B, base=base or stock.base, kernel=stock.kernel, cmdline=cmdline)


def broken_base(disk: Disk, stock: Stock) -> None:
    install(disk, stock)
    spoil_base(disk, Slot.B)


def broken_confirmed_base(disk: Disk, stock: Stock) -> None:
    spoil_base(disk, Slot.A)


def spoil_base(disk: Disk, slot: Slot) -> None:
    """The base is not what its root says: every tenth block is noise, the first among them."""
    draw = random.Random("broken base")
    for number in range(0, 1000, 10):
        disk.write(f"base-{slot.value}", number * 4096, draw.randbytes(4096))


def wrong_root(disk: Disk, stock: Stock) -> None:
    """The loader's entry names a root that is nobody's."""
    install(disk, stock)
    set_base_root(disk, stock, Slot.B, "f" * 64)


def set_base_root(disk: Disk, stock: Stock, slot: Slot, root: str) -> None:
    """Change what a slot is told its base's root is, and nothing else."""
    if stock.board.uboot:
        uboot_slots.measured_anew(disk, slot, base_root=root)
        return
    if stock.board.counts is Counts.PIBOOT:
        set_slot_roots(disk, slot, base_root=root)
        return
    name, entry = disk.entries()[slot]
    files = disk.esp_files()
    files[f"{ENTRY_FOLDER}/{name}"] = encode_entry(replace(entry, base_root=root))
    disk.set_esp_files(files)


Change = Callable[[bytes], bytes | None]


def change_kernel(disk: Disk, slot: Slot, change: Change) -> None:
    """Change a slot's kernel image on the ESP; None takes it away."""
    files = disk.esp_files()
    changed = change(files.pop(kernel_path(slot)))
    if changed is not None:
        files[kernel_path(slot)] = changed
    disk.set_esp_files(files)


def new_kernel(disk: Disk, stock: Stock, *, change: Change) -> None:
    install(disk, stock)
    change_kernel(disk, Slot.B, change)


def confirmed_kernel(disk: Disk, stock: Stock, *, change: Change) -> None:
    change_kernel(disk, Slot.A, change)


def without_initrd(image: bytes) -> bytes:
    """The kernel finds zeros where its initrd should be, and no root: it panics."""
    initrd = decode_uki(image, name="kernel.efi").section(".initrd")
    at = image.index(initrd)
    return image[:at] + bytes(len(initrd)) + image[at + len(initrd):]


KERNELS: dict[str, Change] = {
    "panicking-kernel": without_initrd,
    "short-kernel": lambda image: image[: len(image) // 2],
    "empty-kernel": lambda image: b"",
    "noise-kernel": lambda image: random.Random("noise").randbytes(len(image)),
    "missing-kernel": lambda image: None,
}


def failing_health_check(disk: Disk, stock: Stock) -> None:
    install(disk, stock, base=stock.sick_base)


def failing_confirmed_health_check(disk: Disk, stock: Stock) -> None:
    set_base_root(disk, stock, Slot.A, disk.put_package("base-a", stock.sick_base))


def hanging_system(disk: Disk, stock: Stock) -> None:
    """The first program of the base never does anything: only the watchdog can help."""
    install(disk, stock, base=stock.hanging_base)


def rot(part: str, spot: Spot, seed: int = 0) -> Callable[[Disk, Stock], object]:
    return lambda disk, stock: disk.flip(f"{part}-a", disk.find_spot(f"{part}-a", spot, seed=seed), bit=seed % 8)


def of_systemd_boot() -> list[Fault]:
    """What is wrong with a kernel image on the ESP. The loader skips one that is missing, in a confirmed slot too.

    A confirmed one that panics is not covered: nothing before the initrd counts its boots.
    """
    faults = [Fault(name=name, trial=True, wound=partial(new_kernel, change=change),
                    tries=0 if name == "missing-kernel" else TRIES) for name, change in KERNELS.items()]
    # A confirmed one that does not load leads to the firmware's shell, whose script asks for the other slot.
    faults += [Fault(name=f"confirmed-{name}", trial=False, wound=partial(confirmed_kernel, change=change),
                     tries=0 if name == "missing-kernel" else TRIES, detour=True)
               for name, change in KERNELS.items() if name != "panicking-kernel"]
    return faults


def of_uboot() -> list[Fault]:
    """What is wrong with the boot files of a slot, on trial and in a confirmed one; what is damaged costs no try."""
    faults = []
    for trial in (True, False):
        faults += [Fault(name=name, trial=trial, wound=partial(uboot_slots.wounded, trial=trial, wound=wound), tries=0)
                   for name, wound in uboot_slots.DAMAGED.items()]
        faults += [Fault(name=name, trial=trial, wound=partial(uboot_slots.wounded, trial=trial, wound=wound))
                   for name, wound in uboot_slots.MEASURED.items()]
    return [replace(fault, name=fault.name if fault.trial else f"confirmed-{fault.name}") for fault in faults]


# Nothing leaves a slot whose kernel is wrong under the Pi's firmware: docs/decisions/0007-the-pi-commits-first.md.
_OF = {Counts.SYSTEMD_BOOT: of_systemd_boot, Counts.U_BOOT: of_uboot, Counts.PIBOOT: list[Fault]}


def all_faults(board: Board) -> tuple[Fault, ...]:
    """Every fault of a board, always in this order; none where it is another board with another disk."""
    if board.boots_only:
        return ()
    trials = (broken_base, wrong_root, failing_health_check)
    faults = [Fault(name=wound.__name__.replace("_", "-"), trial=True, wound=wound) for wound in trials]
    faults += _OF[board.counts]()
    faults += [Fault(name="confirmed-broken-base", trial=False, wound=broken_confirmed_base),
               Fault(name="confirmed-failing-health-check", trial=False, wound=failing_confirmed_health_check)]
    faults.append(Fault(name="hanging-system", trial=True, wound=hanging_system, cause=board.hang))
    for part in ("base", "kernel"):
        for spot in (Spot.SUPERBLOCK, Spot.VERITY, Spot.TREE, Spot.TOP):
            faults.append(Fault(name=f"rot-{part}-{spot.value}", trial=False, wound=rot(part, spot)))
    for seed in ROT_SEEDS:
        part = "kernel" if seed % 4 == 3 else "base"
        # The first two of the three boots would only repeat the third; the rots above go all the way.
        faults.append(Fault(name=f"rot-{part}-used-{seed}", trial=False, wound=rot(part, Spot.USED, seed),
                            begun=LIMIT - 1))
    return tuple(replace(fault, board=board, cause=fault.cause or board.reset) for fault in faults
                 if fault.name not in dict(board.cannot))


def drawn_faults() -> tuple[Fault, ...]:
    """IMAGEKIT_FAULTS: `all`, or how many of each board, drawn by IMAGEKIT_FAULTS_SEED (the commit unless told).

    Drawn ones of a confirmed slot begin with their last try, since the two before it only repeat it.
    """
    wish = os.environ.get("IMAGEKIT_FAULTS")
    if wish == "all":
        return tuple(fault for board in BOARDS for fault in all_faults(board))
    seed = os.environ.get("IMAGEKIT_FAULTS_SEED") or commit()
    boards = [board for board in BOARDS if board.in_ci or wish]
    return tuple(fault for board in boards for fault in drawn_of(board, f"{board}/{seed}", wish))


def drawn_of(board: Board, seed: str, wish: str | None) -> tuple[Fault, ...]:
    faults = [fault if fault.trial else replace(fault, begun=LIMIT - 1) for fault in all_faults(board)]
    if wish is None:
        faults = [fault for fault in faults if fault.boots <= board.patience]
    draw = random.Random(seed).sample(range(len(faults)), min(int(wish or board.drawn), len(faults)))
    return tuple(faults[index] for index in sorted(draw))


def commit() -> str:
    """The commit that is tested; a fixed word outside a repository."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True,
                           check=False)
    return asked.stdout.strip() or "no commit"
