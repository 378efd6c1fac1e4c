"""docs/boards.md says what its records say, and the records are of boards and rows that there are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.boot import run_boards
from tests.boot.boards import ARM64_UBOOT, BOARDS, PC, PC_DISKS, Board
from tests.boot.boards_page import PAGE, page, read_records
from tests.boot.matrix import BOOT, BOTH, CASES, RECORDS, Book, Record, Row, rows_of
from tests.boot.run_boards import wished
from tests.boot.stock import Stock

RECORD = Record(image="v1:sha256:ab", size=1 << 30, mapped=1 << 28, commit="c" * 40, command="invoke boards", ok=True,
                time="2026-01-01T00:00:00Z", result="healthy in slot a", boots=4, seconds=120.0)


def test_page_is_what_its_records_give() -> None:
    assert PAGE.read_text() == page(read_records()), "run: .venv/bin/python -m tests.boot.boards_page > docs/boards.md"


def test_records_are_of_boards_that_there_are() -> None:
    assert {path.stem for path in RECORDS.glob("*.json")} <= {board.name for board in BOARDS}


def test_page_shows_what_was_made_what_failed_and_what_was_not_run(tmp_path: Path) -> None:
    book = Book(board=PC, folder=tmp_path)
    book.add(BOOT, RECORD)
    book.add(f"trial-{CASES[0]}", RECORD)
    failed = {**asdict(RECORD), "ok": False, "result": "not healthy after 720 s"}
    book.add(BOTH, Record(**failed))
    told = page([book.document(book.read())])
    assert "| pc | UEFI PC | systemd-boot | 1,024 MiB | 256 MiB | 120.0 | cccccccccccc |" in told
    assert "| pc | slot a, 4 (120 s) | not run |" in told
    assert "| pc | **failed**: not healthy after 720 s |" in told


def test_record_that_was_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    book = Book(board=PC, folder=tmp_path)
    book.add(BOOT, RECORD)
    before = page(read_records(tmp_path))
    document = json.loads(book.path.read_text())
    document["rows"][BOOT]["seconds"] = 1.0
    book.path.write_text(json.dumps(document))
    assert page(read_records(tmp_path)) != before


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_board_has_every_row_or_says_why_not(board: Board) -> None:
    wanted = [BOOT, *(f"{state}-{case}" for state in ("trial", "confirmed") for case in CASES), BOTH]
    assert [row.name for row in rows_of(board)] == ([BOOT] if board.boots_only else wanted)
    assert all(row.cannot or row.fault for row in rows_of(board) if row.name not in (BOOT, BOTH))


def test_shards_are_all_rows_and_each_once() -> None:
    whole = [(board.name, row.name) for board, row in wished([], [], "1/1")]
    for count in (2, 3, 7):
        shares = [(board.name, row.name) for number in range(1, count + 1)
                  for board, row in wished([], [], f"{number}/{count}")]
        assert shares == whole
    assert len(set(whole)) == len(whole)


def test_resumed_run_leaves_out_a_row_of_the_same_image_only(tmp_path: Path) -> None:
    made: list[str] = []
    row = rows_of(PC)[0]
    stock = Stock(board=PC, folder=tmp_path, data=tmp_path, trust=tmp_path, packages=tmp_path,
                  image=tmp_path / "pc.img")
    (tmp_path / "manifest.json").write_text(json.dumps({"image": {"digest": RECORD.image}}))

    def make(row: Row, _stock: Stock, *, transcript: Path) -> Record:
        made.append(row.name)
        return RECORD

    def one(*, resume: bool) -> bool:
        return run_boards.one(PC, row, stock, resume=resume, records=book.folder, make=make)

    book = Book(board=PC, folder=tmp_path / "records")
    for record in (None, replace(RECORD, image="another"), replace(RECORD, ok=False)):
        if record is not None:
            book.add(BOOT, record)
        assert one(resume=True)
    assert made == [BOOT] * 3
    assert one(resume=True)
    assert made == [BOOT] * 3, "the same image was booted again"
    assert one(resume=False)
    assert made == [BOOT] * 4


def test_board_and_row_can_be_named() -> None:
    assert [(board, row.name) for board, row in wished(["arm64-uboot"], [BOOT], "1/1")] == [(ARM64_UBOOT, BOOT)]
    assert [row.name for _, row in wished([PC_DISKS[0].name], [], "1/1")] == [BOOT]
    with pytest.raises(SystemExit, match="there is no board 'toaster'"):
        wished(["toaster"], [], "1/1")
    with pytest.raises(SystemExit, match="there is no row 'healthy' that can be made; there are boot, "):
        wished(["pc"], ["healthy"], "1/1")
    with pytest.raises(SystemExit, match="no such share"):
        wished([], [], "5/4")
