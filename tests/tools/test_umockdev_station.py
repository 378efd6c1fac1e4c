"""A station's waiting: disks that come, go and are exchanged at its USB ports, in the sysfs and udev of umockdev."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT
from tests.patience import WALL_S

Told = Callable[[str], dict[str, Any]]


@pytest.fixture
def told(program: Callable[[str], str], tmp_path: Path) -> Told:
    """Tells a story of `umockdev_station`; what came of it."""
    def tell(story: str) -> dict[str, Any]:
        done = subprocess.run([program("umockdev-wrapper"), sys.executable, "-m", "tests.tools.umockdev_station",
                               str(tmp_path), story], cwd=ROOT, capture_output=True, text=True, check=False,
                              timeout=WALL_S, env={**os.environ, "TMPDIR": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    return tell


def test_disk_is_taken_at_a_port_of_the_job_and_at_no_other_nor_behind_a_hub(told: Told) -> None:
    found = told("foreign")
    assert found["opened"] == [["/dev/sdb", "1-1.4", "OURS"]]
    assert found["units"] == [["OURS", "done", "A0001"]]
    assert found["events"] == ["left begun", "left recorded"]


def test_disk_that_is_pulled_out_in_the_middle_fails_and_the_next_at_its_port_is_a_new_unit(told: Told) -> None:
    found = told("pulled")
    assert found["units"] == [["FIRST", "failed", None], ["SECOND", "done", "A0001"]]
    assert found["events"] == ["left begun", "left recorded", "left gone", "left begun", "left recorded"]


def test_disk_that_goes_before_it_is_looked_into_is_refused_until_it_is_gone(told: Told) -> None:
    found = told("flighty")
    assert found["refused"] == ["cannot use port left: 0 media are plugged in at 1-1.4"]
    assert found["events"] == ["left refused", "left gone", "left begun", "left recorded"]
    assert found["units"] == [["SECOND", "done", "A0001"]]


def test_disk_that_is_exchanged_after_it_was_judged_is_not_written_unjudged(told: Told) -> None:
    found = told("exchanged")
    assert len(found["refused"]) == 1
    assert "serial" in found["refused"][0] and "FIRST" in found["refused"][0] and "SECOND" in found["refused"][0]
    assert found["units"] == [["SECOND", "done", "A0001"]]


def test_next_disk_is_made_though_the_port_was_never_seen_empty(told: Told) -> None:
    found = told("quick")
    assert found["units"] == [["FIRST", "done", "A0001"], ["SECOND", "done", "A0002"]]


def test_reader_without_a_card_is_an_empty_port(told: Told) -> None:
    found = told("reader")
    assert found["units"] == [["READER", "done", "A0001"], ["READER", "done", "A0002"]]
    assert found["events"] == ["left begun", "left recorded", "left gone", "left begun", "left recorded"]
