"""The page of benchmarks says what the records say."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
TABLE = TOP / "tests" / "bench" / "table.py"


def test_benchmarks_page_is_what_its_records_give() -> None:
    subprocess.run([sys.executable, TABLE, "--check"], check=True)


def test_page_that_was_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    edited = tmp_path / "benchmarks.md"
    edited.write_text((TOP / "docs" / "benchmarks.md").read_text().replace("| (a) floor", "| (a) almost the floor"))
    assert subprocess.run([sys.executable, TABLE, "--check", edited], check=False).returncode == 1


def test_documents_are_read_within_their_budgets() -> None:
    record = json.loads((TOP / "docs" / "benchmarks" / "documents.json").read_text())
    for row in record["rows"].values():
        assert statistics.median(one["cpu_s"] for one in row["rounds"]) <= row["budget_s"], row["label"]


@pytest.mark.parametrize("medium", ["card", "disk"])
def test_flashing_misses_no_limit_but_those_that_are_known(medium: str) -> None:
    """A disk as fast as memory leaves the start of Python, reading and hashing to measure: see the page."""
    sys.path.insert(0, str(TABLE.parent))
    from table import flash_limits  # type: ignore[import-not-found]

    record = json.loads((TOP / "docs" / "benchmarks" / "flash.json").read_text())
    limits = flash_limits(record["media"][medium], record["targets"])
    missed = [what for what, most, found in limits if found > most]
    assert missed == MISSED[medium]


def test_deltas_miss_no_limit_but_those_that_are_known() -> None:
    sys.path.insert(0, str(TABLE.parent))
    from table import delta_limits  # type: ignore[import-not-found]

    rows = json.loads((TOP / "docs" / "benchmarks" / "deltas.json").read_text())["rows"]
    missed = [(row["label"], what) for row in rows for what, most, found in delta_limits(row) if found > most]
    assert missed == MISSED_DELTAS


def test_deltas_were_measured_on_two_steps_of_the_base_and_made_the_packages() -> None:
    rows = json.loads((TOP / "docs" / "benchmarks" / "deltas.json").read_text())["rows"]
    bases = [row for row in rows if row["type"] == "base"]
    assert len(bases) == 2 and bases[0]["new"] == bases[1]["old"] and any(row["type"] == "kernel" for row in rows)
    for row in rows:
        assert row["changed"] and row["old"]["sha256"] != row["new"]["sha256"]
        assert {one["result"] for one in row["rounds"]} == {row["new"]["sha256"]}, row["label"]


MISSED_DELTAS: list[tuple[str, str]] = []
MISSED = {
    "card": ["plain image against bmaptool"],
    "disk": ["plain image against the floor", "plain image against bmaptool", ".zst against the floor",
             "read back, against writing and reading of the floor", "--update with 5 % changed against a whole write"],
}
