"""Play a Raspberry Pi's firmware, which no emulator runs: load from the card what its model says it would load.

Before every start of the machine the run's disk is read by `imagekit.boot.piboot`; kernel, initramfs, device tree and
command line that the model chooses become QEMU's `-kernel`, `-initrd`, `-dtb` and `-append`. A reset comes back here:
QEMU stops instead of resetting (`-no-reboot -no-shutdown`), the partition number is read out of the register that a
guest leaves it in (PM_RSTS, which QEMU has), and QEMU is started anew. What is not played: the tryboot flag, which a
guest hands over by a mailbox that QEMU does not answer; and what real firmware adds to device tree and command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from imagekit.boot.piboot import BOARDS, Board, Reset, Rules, choose, rules_of
from imagekit.boot.picard import read_card, read_card_file
from imagekit.errors import DocumentError, HostError
from imagekit.host.ports import Tools
from imagekit.qemu.devicetree import TreeEdit, edit_tree

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["board", "edition", "reset-register"],
    "properties": {
        "board": {"enum": sorted(BOARDS)},
        "edition": {"type": "string", "format": "date", "pattern": r"\A20[0-9]{2}-[01][0-9]-[0-3][0-9]\Z"},
        "reset-register": {"type": "integer", "minimum": 0, "maximum": (1 << 40) - 4},
    },
}
_SHOWN = re.compile(r":\s*0x([0-9a-f]{8})\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PiFirmware:
    """Which board's firmware is played, of which date, and where PM_RSTS is in its memory."""

    board: Board
    rules: Rules
    reset_register: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One start. `options` are QEMU's; None: the firmware starts nothing. `reasons` say why it is this."""

    options: tuple[str, ...] | None
    reasons: tuple[str, ...]


def parse_firmware(value: Mapping[str, Any]) -> PiFirmware:
    """The key `pi` of a machine's firmware, of the shape of `SCHEMA`. Raises: DocumentError: there is no such day."""
    try:
        edition = date.fromisoformat(value["edition"])
    except ValueError as error:
        raise DocumentError(f"{value['edition']} is no day") from error
    board = BOARDS[value["board"]]
    return PiFirmware(board=board, rules=rules_of(board.family, edition), reset_register=value["reset-register"])


def load(tools: Tools, firmware: PiFirmware, disk: Path, folder: Path, *, reset: Reset,
         edits: tuple[TreeEdit, ...]) -> Started:
    """Do the firmware's work on a raw disk; what it loads is copied into `folder`.

    Raises:
        DocumentError: the disk has no partition table, or a file on the way is not one that the model can follow.
        HostError: as `edit_tree`.
    """
    with disk.open("rb") as stream:
        choice = choose(read_card(stream), board=firmware.board, rules=firmware.rules, reset=reset)
        found = choice.load
        if found is None:
            return Started(options=None, reasons=choice.reasons)
        options: list[str] = []
        for option, name in (("kernel", found.kernel), ("initrd", found.initramfs), ("dtb", found.device_tree)):
            if name is not None:
                path = folder / f"card-{option}"
                path.write_bytes(read_card_file(stream, found.partition, name))
                options += [f"-{option}", str(path)]
    if edits:
        edit_tree(tools, folder / "card-dtb", edits)
    return Started(options=(*options, "-append", found.cmdline), reasons=choice.reasons)


def partition_of(shown: str) -> int:
    """The partition number in PM_RSTS, as QEMU's monitor shows the register: every other bit, from bit 0 to bit 10.

    Raises:
        HostError: it shows something else.
    """
    match = _SHOWN.search(shown.strip())
    if match is None:
        raise HostError(f"cannot read the reset register: QEMU answered {shown.strip()[:80]!r}")
    register = int(match[1], 16)
    return sum((register >> 2 * bit & 1) << bit for bit in range(6))
