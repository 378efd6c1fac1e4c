"""`invoke boards`: make the rows of docs/boards.md, board by board, and the page from them.

Images and transcripts go to build/boards. Every row is written to docs/boards/BOARD.json as soon as it is there, so
that a run which is stopped can go on with `--resume`. Exit 0: all rows are as they should be, 7: some are not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from imagekit.errors import ExitCode, HostError
from tests.boot.boards import BOARDS, BY_NAME, ROOT, Board
from tests.boot.boards_page import PAGE, page, read_records
from tests.boot.matrix import RECORDS, Book, Record, Row, make_row, rows_of
from tests.boot.stock import Stock, make_stock

FOLDER = ROOT / "build" / "boards"


def wished(boards: list[str], rows: list[str], shard: str) -> list[tuple[Board, Row]]:
    """What is to be made: of these boards and rows (all without any), the shard's share."""
    if unknown := [name for name in boards if name not in BY_NAME]:
        sys.exit(f"there is no board {unknown[0]!r}; there are {', '.join(BY_NAME)}")
    chosen = [BY_NAME[name] for name in boards] or list(BOARDS)
    pairs = [(board, row) for board in chosen for row in rows_of(board) if not row.cannot]
    if rows:
        there = {row.name: None for _, row in pairs}
        if unknown := [name for name in rows if name not in there]:
            sys.exit(f"there is no row {unknown[0]!r} that can be made; there are {', '.join(there)}")
        pairs = [(board, row) for board, row in pairs if row.name in rows]
    number, _, count = shard.partition("/")
    first, step = int(number) - 1, int(count)
    if not 0 <= first < step:
        sys.exit(f"--shard {shard}: there is no such share")
    size = -(-len(pairs) // step)  # neighbours share a board, and so an image
    return pairs[first * size:(first + 1) * size]


def main() -> int:
    """Make them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--board", action="append", default=[])
    parser.add_argument("--row", action="append", default=[])
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()
    stocks: dict[Board, Stock] = {}
    wrong = 0
    for board, row in wished(asked.board, asked.row, asked.shard):
        if board not in stocks:
            for stock in stocks.values():
                shutil.rmtree(stock.folder, ignore_errors=True)  # some GiB each
            shutil.rmtree(FOLDER / board.name, ignore_errors=True)
            try:
                stocks = {board: make_stock(board, FOLDER / board.name)}
            except HostError as error:
                sys.exit(f"{board}: {error.message}")
        wrong += not one(board, row, stocks[board], resume=asked.resume)
    PAGE.write_text(page(read_records()))
    return ExitCode.TARGET if wrong else ExitCode.DONE


def one(board: Board, row: Row, stock: Stock, *, resume: bool, records: Path = RECORDS,
        make: Callable[..., Record] = make_row) -> bool:
    """Make a row, unless it is there already; whether it is as it should be."""
    book = Book(board=board, folder=records)
    there = book.read().get(row.name)
    if resume and there and there.ok and there.image == stock.digest:
        print(f"{board} {row.name}: has a record of this image", flush=True)
        return True
    record = make(row, stock, transcript=transcript(board, row))
    book.add(row.name, record)
    outcome = "" if record.ok else "FAILED: "
    print(f"{board} {row.name}: {outcome}{record.result} ({record.boots} boots, {record.seconds:.0f} s)", flush=True)
    return record.ok


def transcript(board: Board, row: Row) -> Path:
    return FOLDER / "transcripts" / board.name / f"{row.name}.log"


if __name__ == "__main__":
    sys.exit(main())
