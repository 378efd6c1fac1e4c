"""One row of docs/boards.md is made again, and must come out as its record says.

Drawn by the commit among the rows of quick boards that take few boots; IMAGEKIT_ROW=BOARD/ROW names any other.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.boot.boards import BOARDS, BY_NAME, Board
from tests.boot.faults import commit
from tests.boot.matrix import BOOT, Book, Row, make_row, rows_of
from tests.boot.stock import StockOf

pytestmark = pytest.mark.boot

BOOTS_MOST = 2  # of a row that is drawn


def drawn() -> tuple[Board, Row] | None:
    """The board and row, None where no quick row has a record yet."""
    wish = os.environ.get("IMAGEKIT_ROW")
    if wish:
        name, _, row_name = wish.partition("/")
        return BY_NAME[name], next(row for row in rows_of(BY_NAME[name]) if row.name == row_name)
    made = [(board, row) for board in BOARDS if board.in_ci for row in rows_of(board)
            if (record := Book(board=board).read().get(row.name)) and record.ok and record.boots <= BOOTS_MOST]
    others = [pair for pair in made if pair[1].name != BOOT]  # test_boot.py boots every board anyway
    return random.Random(commit()).choice(others or made) if made else None


def test_row_of_the_page_comes_out_the_same_again(stock_of: StockOf, tmp_path: Path) -> None:
    found = drawn()
    if found is None:
        pytest.skip("no quick row has a record yet: invoke boards")
    board, row = found
    recorded = Book(board=board).read()[row.name]
    again = make_row(row, stock_of(board), transcript=tmp_path / "console.log")
    assert (again.ok, again.result, again.boots) == (True, recorded.result, recorded.boots), f"{board} {row.name}"
