"""The table of docs/boards.md: which rows a board has, and how one of them is made.

Every board boots; then each of the six cases, with the broken slot on trial and with it confirmed for years; then both
slots broken. Where a loader cannot do a row, the row says why instead of being left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagekit.boot.slotstate import Slot
from imagekit.errors import ImagekitError
from imagekit.host.trust import load_trust
from imagekit.qemu.device import Device
from imagekit.qemu.expectation import read_expectation
from imagekit.qemu.machine import MACHINES, Accelerator, load_machine
from tests.boot.boards import ROOT, Board, Counts
from tests.boot.endure import Endured, endure, endure_both
from tests.boot.faults import Fault, all_faults, commit
from tests.boot.stock import SIGNED_AT, Stock, tools_of

RECORDS = ROOT / "docs" / "boards"
ENDURE_S = 720.0  # three failing boots, a hand-over and a healthy one, on a busy host
CASES = ("missing-kernel", "short-kernel", "noise-kernel", "panicking-kernel", "broken-base", "failing-health-check")
BOOT, BOTH = "boot", "both-broken"
_NOBODY_COUNTS = ("systemd-boot does not count a confirmed entry, and a kernel that panics before its initrd leaves"
                  " nothing behind: docs/reference/boot-path.md")
_NOBODY_LEADS_AWAY = "nothing runs before the initrd that counts: docs/decisions/0007-the-pi-commits-first.md"
CANNOT: dict[Counts, dict[str, str]] = {
    Counts.SYSTEMD_BOOT: {"confirmed-panicking-kernel": _NOBODY_COUNTS},
    Counts.PIBOOT: {**{f"{prefix}{name}": _NOBODY_LEADS_AWAY for prefix in ("", "confirmed-")
                       for name in ("missing-kernel", "short-kernel", "noise-kernel", "panicking-kernel")},
                    BOTH: "the Pi's firmware starts nothing then, and does not run in QEMU"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. `cannot`: why the board has no such row; `fault` None: no slot is broken, or both are."""

    name: str
    fault: Fault | None = None
    cannot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row that was made: of which image, by which commit, with which command, when, and what came of it."""

    image: str
    size: int
    mapped: int
    commit: str
    command: str
    time: str
    ok: bool
    result: str
    boots: int
    seconds: float


def rows_of(board: Board) -> tuple[Row, ...]:
    """Every row of a board, in the order of the page."""
    if board.boots_only:
        return (Row(name=BOOT),)
    faults = {fault.name: fault for fault in all_faults(board)}
    cannot = {**CANNOT.get(board.counts, {}), **dict(board.cannot)}
    rows = [Row(name=BOOT)]
    for state, prefix in (("trial", ""), ("confirmed", "confirmed-")):
        rows += [Row(name=f"{state}-{case}", fault=faults.get(prefix + case), cannot=cannot.get(prefix + case, ""))
                 for case in CASES]
    rows.append(Row(name=BOTH, cannot=cannot.get(BOTH, "")))
    for row in rows:
        assert row.cannot or row.fault or row.name in (BOOT, BOTH), f"{board} has no {row.name}, and does not say why"
    return tuple(rows)


def make_row(row: Row, stock: Stock, *, transcript: Path) -> Record:
    """Make one row; a failure is a record too."""
    board, made = stock.board, stock.made
    with stock.image.open("rb") as stream:
        expectation = read_expectation(stream, name=str(stock.image), trusted=load_trust([stock.trust]),
                                       now=datetime.now(UTC))
    untouched = row.name == BOOT or bool(row.fault and row.fault.trial)
    deadline_s = board.deadline_s if row.name == BOOT else max(ENDURE_S, 5 * board.deadline_s)
    with Device(stock.image if untouched else stock.both, tools=tools_of(board), transcript=transcript,
                machine=load_machine(board.name, [MACHINES]), accelerator=Accelerator.TCG, expectation=expectation,
                deadline_s=deadline_s) as device:
        try:
            ended, ok = _endured(row, device, stock), True
        except (ImagekitError, AssertionError) as error:
            told = error.message if isinstance(error, ImagekitError) else f"not as expected: {error}".splitlines()[0]
            ended, ok = Endured(result=told, boots=len(device.boots), seconds=0.0), False
    return Record(image=stock.digest, size=made["size"], mapped=made["mapped"], commit=commit(),
                  command=f"invoke boards --board {board} --row {row.name}",
                  time=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", ok=ok, result=ended.result, boots=ended.boots,
                  seconds=round(ended.seconds, 1))


def _endured(row: Row, device: Device, stock: Stock) -> Endured:
    if row.name == BOTH:
        return endure_both(device, stock)
    if row.fault is not None:
        return endure(device, stock, row.fault)
    boot = device.boot(slot=Slot.A.value)
    assert boot.number == 1
    assert boot.judged_s is not None
    return Endured(result="healthy in slot a", boots=1, seconds=boot.judged_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The records of one board, as a JSON file."""

    board: Board
    folder: Path = RECORDS

    @property
    def path(self) -> Path:
        return self.folder / f"{self.board}.json"

    def read(self) -> dict[str, Record]:
        """The rows that were made, by name."""
        if not self.path.is_file():
            return {}
        return {name: Record(**fields) for name, fields in json.loads(self.path.read_text())["rows"].items()}

    def document(self, rows: Mapping[str, Record]) -> dict[str, Any]:
        """What the file says with these rows: all that the page needs."""
        board, names = self.board, rows_of(self.board)
        return {
            "version": 1, "board": board.name, "model": board.model, "loader": board.counts.value, "title": board.title,
            "boot_path": list(board.boot_path), "like": board.boots_only, "signed_at": SIGNED_AT,
            "cannot": {row.name: row.cannot for row in names if row.cannot},
            "rows": {row.name: asdict(rows[row.name]) for row in names if row.name in rows},
        }

    def add(self, name: str, record: Record) -> None:
        """Add one row, or replace it; what was there stays until the new file is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(self.document({**self.read(), name: record}), indent=1) + "\n")
        fresh.replace(self.path)
