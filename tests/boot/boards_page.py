"""docs/boards.md, made from docs/boards/*.json: `python -m tests.boot.boards_page > docs/boards.md`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.boot.boards import BOARDS, ROOT
from tests.boot.matrix import RECORDS, Book

PAGE = ROOT / "docs" / "boards.md"
HEAD = """# Boards that were booted

A board is built from its model, booted in QEMU from its card image by its real boot loader, and then broken:
six ways, once in a new slot that is on trial and once in a slot that had been good, and at last in both slots at once.
Nobody helps; what is written here is what the device made of it. How it is done: `tests/boot/matrix.py`.

*Not run* means that there is no record of this row. A run of all tests boots one board of each kind and a few drawn
faults ([0008](decisions/0008-what-a-run-of-all-tests-may-take.md)), and records nothing here.

    .venv/bin/invoke boards --board pc            # all rows of a board
    .venv/bin/invoke boards --shard 1/4 --resume  # a quarter of everything, but for what has a record of the same image

The signatures have a fixed time, so that the same commit makes the same image anywhere. A test holds this page to its
records, and makes one of the rows again, drawn by the commit (`IMAGEKIT_ROW=BOARD/ROW` names one).

"""
CASES = {
    "missing-kernel": "kernel missing", "short-kernel": "cut short", "noise-kernel": "noise",
    "panicking-kernel": "panics", "broken-base": "base corrupted", "failing-health-check": "health check fails",
}
TAIL = """
Seconds are of the whole case under TCG, from power-on to the last verdict, on a machine with other work. Boots count
power-on as one. *slot b, 4* means: healthy in slot b, on the fourth boot, after three tries of slot a. Where the initrd
leads away, the start in which it hands over is counted here too: three tries, that one, and the other slot make 5.

The SABRE Lite is not in these tables. QEMU has no boot ROM of it, and its U-Boot finds no card there: out of the card
image U-Boot starts by itself, and a slot's kernel and initrd by themselves (`tests/boot/test_sabrelite.py`).
"""


def read_records(folder: Path = RECORDS) -> list[dict[str, Any]]:
    """The documents of all boards; of those that never ran, without rows."""
    books = [Book(board=board, folder=folder) for board in BOARDS]
    return [book.document(book.read()) for book in books]


def page(documents: list[dict[str, Any]]) -> str:
    """The whole page."""
    return HEAD + "\n".join([*_boots(documents), "", *_faults(documents, "trial"), "",
                             *_faults(documents, "confirmed"), "", *_both(documents), "", *_reasons(documents),
                             "", *_paths(documents)]) + "\n" + TAIL


def _boots(documents: list[dict[str, Any]]) -> list[str]:
    lines = ["## From power-on to healthy", "",
             "| board | | loader | image | mapped | seconds | commit | digest of the image |",
             "|---|---|---|--:|--:|--:|---|---|"]
    for told in documents:
        row = told["rows"].get("boot")
        cells = [told["board"], told["title"], told["loader"]]
        if row is None:
            cells += ["", "", "not run", "", ""]
        else:
            cells += [_mib(row["size"]), _mib(row["mapped"]), f"{row['seconds']:.1f}" if row["ok"] else "**failed**",
                      row["commit"][:12], f"`{row['image'][:20]}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _faults(documents: list[dict[str, Any]], state: str) -> list[str]:
    told = {"trial": "A new slot is broken", "confirmed": "The slot that had been good is broken"}[state]
    lines = [f"## {told}", "", f"| board | {' | '.join(CASES.values())} |", "|---" * (len(CASES) + 1) + "|"]
    for document in documents:
        if document["like"]:
            lines.append(f"| {document['board']} | as {document['like']}: the same loader and the same slots"
                         + " |" * len(CASES))
        else:
            cells = [_cell(document, f"{state}-{case}") for case in CASES]
            lines.append(f"| {document['board']} | {' | '.join(cells)} |")
    return lines


def _cell(document: Mapping[str, Any], name: str) -> str:
    row = document["rows"].get(name)
    if name in document["cannot"]:
        return "cannot, see below"
    if row is None:
        return "not run"
    if not row["ok"]:
        return "**failed**"
    return f"{row['result'].removeprefix('healthy in ')}, {row['boots']} ({row['seconds']:.0f} s)"


def _both(documents: list[dict[str, Any]]) -> list[str]:
    lines = ["## Neither slot has a kernel", "", "| board | what it does |", "|---|---|"]
    for document in documents:
        if document["like"]:
            continue
        row = document["rows"].get("both-broken")
        what = document["cannot"].get("both-broken") or "not run"
        if row is not None:
            what = row["result"] if row["ok"] else f"**failed**: {row['result']}"
        lines.append(f"| {document['board']} | {what} |")
    return lines


def _reasons(documents: list[dict[str, Any]]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for document in documents:
        for name, why in document["cannot"].items():
            reasons.setdefault(why, []).append(f"{document['board']}: {name}")
    return ["## What a loader cannot", "",
            *(f"- {why} ({'; '.join(rows)})" for why, rows in reasons.items() or [("Nothing.", [])] if rows)]


def _paths(documents: list[dict[str, Any]]) -> list[str]:
    boards: dict[str, list[str]] = {}
    for document in documents:
        boards.setdefault("; ".join(document["boot_path"]), []).append(document["board"])
    lines = ["## The way of a boot", ""]
    for path, names in boards.items():
        lines += [f"**{', '.join(names)}**: {path}.", ""]
    return lines[:-1]


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"


if __name__ == "__main__":
    sys.stdout.write(page(read_records()))
