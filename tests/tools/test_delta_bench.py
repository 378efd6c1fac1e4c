"""The benchmark of deltas: it holds what was made against the new package, and a record against what is asked."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.store_packages import write_package

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from deltas import MAKE, Step, measured  # type: ignore[import-not-found]
from table import delta_limits  # type: ignore[import-not-found]

pytestmark = pytest.mark.tools
TO_ITSELF = MAKE.replace("make_delta(old, new)", "make_delta(old, old)")


@pytest.fixture
def step(program: Callable[[str], str], tmp_path: Path) -> Step:
    """The second package has some bytes more."""
    shared, paths = random.Random(1).randbytes(200_000), []
    for number, content in ((1, shared), (2, shared + b"more")):
        path = write_package(program("mkfs.erofs"), tmp_path, "small", number, content=content)
        path.with_name(path.name + ".zst").write_bytes(bytes(100_000))
        paths.append(path)
    return Step(label="small", old=paths[0], new=paths[1])


def test_a_round_has_the_new_package_s_digest_and_what_it_cost(step: Step, tmp_path: Path) -> None:
    (row,) = measured([step], tmp_path / "delta", 1)
    (found,) = row["rounds"]
    assert found["result"] == row["new"]["sha256"] != row["old"]["sha256"]
    assert found["delta"] == (tmp_path / "delta").stat().st_size
    assert found["make"]["cpu_s"] > 0 and 1 << 20 < found["apply"]["peak"] < 96 << 20
    assert not missed(row)


def test_a_delta_that_makes_another_package_ends_the_benchmark(step: Step, tmp_path: Path) -> None:
    assert TO_ITSELF != MAKE
    with pytest.raises(RuntimeError, match=r"small: the delta makes .*, not the new package"):
        measured([step], tmp_path / "delta", 1, make=TO_ITSELF)


@pytest.mark.parametrize(("kind", "delta", "cpu_s", "peak", "expected"), [
    ("kernel", 100_000, 90, 96 << 20, []), ("kernel", 100_001, 1, 1, ["delta"]), ("base", 4_000, 1, 1, []),
    ("base", 4_001, 1, 1, ["delta"]), ("base", 1, 91, 1, ["making"]), ("base", 1, 1, (96 << 20) + 1, ["peak"])])
def test_what_is_above_a_limit_is_missed(kind: str, delta: int, cpu_s: float, peak: int, expected: list[str]) -> None:
    one = {"delta": delta, "make": {"cpu_s": cpu_s}, "apply": {"peak": peak}}
    assert missed({"type": kind, "new": {"whole": 100_000}, "rounds": [one]}) == expected


def missed(row: dict[str, Any]) -> list[str]:
    """The first words of the limits that a row is above."""
    return [what.split()[0].rstrip(",") for what, most, found in delta_limits(row) if found > most]
