"""docs/reliability.md says what the records of power cuts say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imagekit.cli.powercut_record import During
from tests.boot import run_powercut
from tests.boot.powercut_page import PAGE, RECORDS, part, read_records, with_records

SHARD: dict[str, Any] = {
    "commit": "c" * 40, "command": "invoke powercut --board pc --shard 1/2", "medium": "epochs", "seed": 0,
    "requests": 1200, "sectors": 500_000, "flushes": 40, "epochs": 30, "sampled": 1, "prefixes": 250_000,
    "torn": 250_000, "reorderings": 300, "judged": 900, "unbootable": 0, "stopped": False,
    "classes": [{"states": 9, "first": "x", "slot": "a", "roots": [], "menu": ["imagekit-a.conf"], "record": "slot a",
                 "way": ["imagekit-a.conf: slot a"], "problem": None}],
    "checked": 0, "lost": [], "again": [], "problems": [],
    "booted": [{"state": "x", "drawn": True, "expected": "a", "came": "a", "agrees": True}],
}
TOLD = {**SHARD, "machine": "pc", "emulator": "QEMU 7.2", "accelerator": "tcg", "update": {},
        "recorded": {"slots": ["a", "b"], "boots": 2, "seconds": 200.0}}


def test_page_is_what_its_records_give() -> None:
    page = PAGE.read_text()
    assert page == with_records(page, read_records()), "run: .venv/bin/python -m tests.boot.powercut_page"


def test_records_are_of_boards_that_there_are_whole_and_sound() -> None:
    for path in RECORDS.glob("*.json"):
        assert path.stem in {run_powercut.name_of(board, during) for board in run_powercut.BOARDS for during in During}
        for shard in json.loads(path.read_bytes())["shards"].values():
            assert not shard["stopped"]
            assert shard["prefixes"]
            assert run_powercut.is_sound(shard)


def test_shares_are_added_and_a_missing_one_is_told(tmp_path: Path) -> None:
    run_powercut.put("pc", "v1", TOLD, "1/2", "first", tmp_path)
    assert "Only 1 of 2 shards" in part(read_records(tmp_path))
    run_powercut.put("pc", "v1", TOLD, "2/2", "second", tmp_path)
    told = part(read_records(tmp_path))
    assert "| pc | 1,200 | 500,000 | 40 | 500,000 | 500,000 | 600 | 1 | 2 | 0 |" in told
    assert "Only" not in told
    assert "| 18 | imagekit-a.conf: slot a (imagekit-a.conf) | slot a |" in told
    assert "How many boots each state took was not looked at then" in told
    counted = {**TOLD, "booted": [{**SHARD["booted"][0], "boots": 1}]}
    for number in (1, 2):
        run_powercut.put("pc", "v1", counted, f"{number}/2", "again", tmp_path)
    assert "was not looked at" not in part(read_records(tmp_path))


@pytest.mark.parametrize("changed", [
    {"unbootable": 1}, {"lost": [{"state": "y", "problem": "lost"}]}, {"again": [{"unbootable": 1, "lost": []}]},
    {"again": [{"unbootable": 0, "lost": ["y"]}]}, {"booted": [{**SHARD["booted"][0], "agrees": False}]}])
def test_record_in_which_anything_is_wrong_is_not_sound(changed: dict[str, Any]) -> None:
    assert run_powercut.is_sound(SHARD)
    assert not run_powercut.is_sound(SHARD | changed)


def test_another_image_begins_a_new_record(tmp_path: Path) -> None:
    run_powercut.put("pc", "v1", TOLD, "1/1", "first", tmp_path)
    run_powercut.put("pc", "v2", TOLD, "2/2", "second", tmp_path)
    assert list(run_powercut.read("pc", tmp_path)["shards"]) == ["2/2"]


def test_another_number_of_shards_begins_anew(tmp_path: Path) -> None:
    run_powercut.put("pc", "v1", TOLD, "1/2", "first", tmp_path)
    run_powercut.put("pc", "v1", TOLD, "1/1", "second", tmp_path)
    assert list(run_powercut.read("pc", tmp_path)["shards"]) == ["1/1"]


def test_what_is_wrong_stands_out(tmp_path: Path) -> None:
    booted = [{**SHARD["booted"][0], "came": "nothing", "agrees": False}]
    run_powercut.put("pc", "v1", {**TOLD, "unbootable": 7, "booted": booted}, "1/1", "first", tmp_path)
    assert "| 1, **1 otherwise** | **7** |" in part(read_records(tmp_path))


def test_data_and_recoveries_are_told_where_they_were_looked_at(tmp_path: Path) -> None:
    again = {"state": "request 7", "requests": 90, "prefixes": 1100, "torn": 1099, "reorderings": 12, "unbootable": 0,
             "checked": 5, "lost": [{"state": "y", "problem": "lost"}], "classes": []}
    told = {**TOLD, "checked": 25, "lost": [], "again": [again],
            "classes": [{**SHARD["classes"][0], "data": "mounts, grows"}]}
    run_powercut.put("pc-first-boot", "v1", told, "1/1", "first", tmp_path)
    page = part(read_records(tmp_path))
    assert "| pc-first-boot |" in page
    assert "slot a (imagekit-a.conf); the data partition mounts, grows |" in page
    assert "25 data partitions were put in order as the device does it and looked into: none had lost anything." in page
    assert "| request 7 | 1,100 | 1,099 | 12 | 0 | 1 |" in page
    run_powercut.put("pc-first-boot", "v1", {**told, "lost": again["lost"]}, "1/1", "first", tmp_path)
    assert "**1 had lost something**" in part(read_records(tmp_path))


def test_unbootable_states_that_were_booted_are_told_with_what_came(tmp_path: Path) -> None:
    boot = {"state": "request 9, never flushed", "drawn": True, "problem": "slot b is not whole", "expected": "a",
            "way": ["b", "b", "b", "a"], "came": "a", "boots": 4, "agrees": True}
    other = {**boot, "came": None, "boots": 30, "agrees": False}
    run_powercut.put("pc", "v1", {**TOLD, "booted": [boot, other]}, "1/1", "first", tmp_path)
    page = part(read_records(tmp_path))
    assert "| request 9, never flushed | slot b is not whole | b; b; b; a | slot a, boot 4 |" in page
    assert "| b; b; b; a | **nothing** |" in page
    assert "| 2, **1 otherwise** |" in page


def test_page_without_its_part_is_refused() -> None:
    with pytest.raises(ValueError, match="0 parts powercut"):
        with_records("# Reliability\n", [])
