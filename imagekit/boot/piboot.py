"""What a Raspberry Pi's firmware starts from a card: the documented decision, as a model.

Decides, from the files of a card's partitions and from what the reset left behind, which partition is booted and which
kernel, initramfs, device tree and command line come from it. Leaves to others: the text files
(`imagekit.boot.autoboot`) and everything after the kernel's first instruction. The firmware itself is closed and runs
on no emulator: this model is what the documents say, and nothing here was compared with a board.

The decision, for one medium:

1. The reset hands over a partition number (`reboot N`, in PM_RSTS) and the tryboot flag, which counts for one start.
2. With number 0, `autoboot.txt` on the first partition chooses; `[tryboot]` lines count when the flag is set. A
   number that was asked for goes before it. Without either it is the first partition that can be booted.
3. A partition can be booted when it is FAT and holds what the first stage loads: `start.elf` (Pi 3), `start4.elf`
   (Pi 4), `config.txt` and a device tree for the board (Pi 5, whose firmware lies in its EEPROM).
4. If the chosen one cannot: with `PARTITION_WALK` the others are looked at in turn, after the chosen one and then from
   the beginning, without any `autoboot.txt`. Else the medium counts as not bootable.
5. `config.txt` of that partition names kernel, initramfs and command line; with the flag, and without `tryboot_a_b=1`,
   it is `tryboot.txt`. The device tree goes by the board.
6. A kernel or device tree that is missing stops the firmware. It does not look at other partitions for that. An
   initramfs or command line that is missing is done without (assumed: the documents are silent on it).

Which EEPROM does what is in `rules_of`, by the release notes. Sources: Raspberry Pi documentation,
`config_txt/autoboot.adoc`, `config_txt/boot.adoc`, `raspberry-pi/bootflow-eeprom.adoc` and
`raspberry-pi/eeprom-bootloader.adoc` (PARTITION, PARTITION_WALK); raspberrypi/rpi-eeprom, release notes of
firmware-2711 and firmware-2712, pull requests 659, 663, 736, 737 and 741.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum

from imagekit.boot.autoboot import AUTOBOOT_NAME, TRYBOOT, read_settings, select
from imagekit.errors import DocumentError

CONFIG_NAME = "config.txt"
TRYBOOT_NAME = "tryboot.txt"
CMDLINE_NAME = "cmdline.txt"
TEXTS = (AUTOBOOT_NAME, CONFIG_NAME, TRYBOOT_NAME, CMDLINE_NAME)  # files whose content steers the decision
HALT = 63  # as a partition number: do not start again
WALK_MOST = 8
KERNEL_DEFAULT = "kernel8.img"

A_B_SINCE = date(2022, 10, 18)  # Pi 4: [tryboot] and tryboot_a_b
WALK_DEFAULT_SINCE = date(2025, 8, 13)  # before that PARTITION_WALK was off unless set


class Family(Enum):
    """What the first stage loads; the value is the model filter of `config.txt`."""

    PI3 = "pi3"
    PI4 = "pi4"
    PI5 = "pi5"

    @property
    def first_file(self) -> str:
        """By which a partition is known as one that can be booted."""
        return {Family.PI3: "start.elf", Family.PI4: "start4.elf", Family.PI5: CONFIG_NAME}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board: its family, and its device trees by their names, first choice first."""

    name: str
    family: Family
    device_trees: tuple[str, ...]


# An option from early 2025; a Pi 4 walked on from a partition with config.txt and without start4.elf only later.
WALK_SINCE = {Family.PI4: date(2025, 8, 20), Family.PI5: date(2025, 1, 27)}
BOARDS = {board.name: board for board in (
    Board(name="raspi3b", family=Family.PI3, device_trees=("bcm2837-rpi-3-b.dtb", "bcm2710-rpi-3-b.dtb")),
    Board(name="raspi4b", family=Family.PI4, device_trees=("bcm2711-rpi-4-b.dtb",)),
    Board(name="raspi5b", family=Family.PI5, device_trees=("bcm2712-rpi-5-b.dtb",)),
)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an edition of the firmware can do."""

    tryboot_a_b: bool
    partition_walk: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What survives into one start: the number in PM_RSTS and the tryboot flag. Power on leaves neither."""

    partition: int = 0
    tryboot: bool = False


POWER_ON = Reset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A FAT file system: the names in its root, lower case, and the content of those in TEXTS."""

    names: frozenset[str]
    texts: Mapping[str, bytes] = field(default_factory=dict)


Card = Mapping[int, Partition]  # by number; what is no FAT is not in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the firmware starts. Names are of files on `partition`; `cmdline` is the text itself."""

    partition: int
    tryboot: bool
    kernel: str
    initramfs: str | None
    device_tree: str
    cmdline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The outcome of one start. `load` None: the firmware starts nothing; `reasons` are sentences, first cause first.

    `partition` None: none could be booted.
    """

    partition: int | None
    load: Load | None
    reasons: tuple[str, ...]


def rules_of(family: Family, eeprom: date, *, partition_walk: bool | None = None) -> Rules:
    """What the EEPROM of this date can do; `partition_walk` is its setting, None: as delivered.

    A Pi 3 has no EEPROM: its date is that of the `bootcode.bin` on the card, which walks no partitions.
    """
    wanted = eeprom >= WALK_DEFAULT_SINCE if partition_walk is None else partition_walk
    return Rules(tryboot_a_b=family is Family.PI5 or eeprom >= A_B_SINCE,
                 partition_walk=wanted and family in WALK_SINCE and eeprom >= WALK_SINCE[family])


def choose(card: Card, *, board: Board, rules: Rules, reset: Reset = POWER_ON) -> Choice:
    """One start. Raises: DocumentError: a file on the way says what this model has no meaning for."""
    if reset.partition == HALT:
        return Choice(partition=None, load=None, reasons=("the reset asks for a halt",))
    wanted, a_b, reasons = _wanted(card, rules, reset)
    number = wanted or next((number for number in sorted(card) if _can_boot(card[number], board)), None)
    if number is None:
        return Choice(partition=None, load=None, reasons=(*reasons, "no partition can be booted"))
    if not _can_boot(card.get(number), board):
        reasons.append(f"partition {number} cannot be booted: {_lack(card.get(number), board)}")
        number = next(_walked(card, board, number), None) if rules.partition_walk else None
        if number is None:
            return Choice(partition=None, load=None, reasons=(*reasons, (
                "no other can be booted" if rules.partition_walk else "this firmware looks for no other")))
        reasons.append(f"PARTITION_WALK finds partition {number}")
    found = _load(card[number], number, board, tryboot=reset.tryboot, a_b=a_b)
    if isinstance(found, str):
        return Choice(partition=number, load=None, reasons=(*reasons, found, "the firmware stops, or starts over"))
    return Choice(partition=number, load=found, reasons=(*reasons, f"partition {number} has {found.kernel}"))


def _wanted(card: Card, rules: Rules, reset: Reset) -> tuple[int, bool, list[str]]:
    """The number asked for (0: nobody asks), whether tryboot is of partitions, and why."""
    raw = card[1].texts.get(AUTOBOOT_NAME) if 1 in card else None
    found = None if raw is None else select(raw, tryboot=reset.tryboot and rules.tryboot_a_b)
    a_b = found is not None and found.tryboot_a_b and rules.tryboot_a_b
    if reset.partition:
        if reset.partition == 1 and found is not None:
            raise DocumentError(f"cannot tell what a reset into partition 1 does: it holds {AUTOBOOT_NAME}, and which"
                                " of the two counts is not documented")
        return reset.partition, a_b, [f"the reset asks for partition {reset.partition}"]
    if found is None:
        return 0, a_b, [f"there is no {AUTOBOOT_NAME} on partition 1: the first that can be booted counts"]
    if not found.partition:
        return 0, a_b, [f"{AUTOBOOT_NAME} names no partition: the first that can be booted counts"]
    flag = " for a trial" if reset.tryboot and rules.tryboot_a_b else ""
    return found.partition, a_b, [f"{AUTOBOOT_NAME} names partition {found.partition}{flag}"]


def _can_boot(found: Partition | None, board: Board) -> bool:
    return not _lack(found, board)


def _lack(found: Partition | None, board: Board) -> str:
    """What keeps a partition from being booted; empty: nothing."""
    if found is None:
        return "it holds no FAT"
    if board.family.first_file not in found.names:
        return f"it has no {board.family.first_file}"
    if board.family is Family.PI5 and not any(name in found.names for name in board.device_trees):
        return f"it has no {board.device_trees[0]}"
    return ""


def _walked(card: Card, board: Board, after: int) -> Iterator[int]:
    """Those that can be booted, in the order of the walk."""
    order = [*range(after + 1, WALK_MOST + 1), *range(1, after)]
    return (number for number in order if _can_boot(card.get(number), board))


def _load(found: Partition, number: int, board: Board, *, tryboot: bool, a_b: bool) -> Load | str:
    """What a partition's files make the firmware load; or why it loads nothing."""
    config = TRYBOOT_NAME if tryboot and not a_b else CONFIG_NAME
    filters = frozenset({board.family.value} | ({TRYBOOT} if tryboot else set()))
    settings = read_settings(found.texts.get(config, b""), filters=filters, name=f"{config} of partition {number}")
    for unsupported in ("os_prefix", "include", "boot_ramdisk"):
        if settings.get(unsupported, "0") != "0":
            raise DocumentError(f"cannot follow {config} of partition {number}: {unsupported} is not modelled")
    kernel = settings.get("kernel", KERNEL_DEFAULT)
    if kernel.lower() not in found.names:
        return f"partition {number} has no {kernel}"
    trees = (settings["device_tree"],) if settings.get("device_tree") else board.device_trees
    tree = next((name for name in trees if name.lower() in found.names), None)
    if tree is None:
        return f"partition {number} has no {trees[0]}"
    initramfs = settings.get("initramfs", "").split(" ")[0] or None
    if initramfs is not None and initramfs.lower() not in found.names:
        initramfs = None
    text = found.texts.get(settings.get("cmdline", CMDLINE_NAME).lower(), b"").decode("ascii", "replace")
    return Load(partition=number, tryboot=tryboot, kernel=kernel, initramfs=initramfs, device_tree=tree,
                cmdline=text.split("\n")[0].strip())
