"""A few of many, each as likely as any other."""

from __future__ import annotations

import random

import pytest

from imagekit.powercut.draws import Reservoir, in_turn


def test_every_one_is_kept_as_often_as_its_weight_says() -> None:
    draw, times = random.Random(1), dict.fromkeys("abc", 0)
    for _ in range(3000):
        one: Reservoir[str] = Reservoir(1, draw)
        for name, weight in (("a", 1), ("b", 1), ("c", 4)):
            one.show(weight, lambda name=name: name)  # type: ignore[misc]
        times[one.kept()[0]] += 1
    assert times["a"] == pytest.approx(500, rel=0.2)
    assert times["b"] == pytest.approx(500, rel=0.2)
    assert times["c"] == pytest.approx(2000, rel=0.1)


def test_no_more_are_made_than_were_kept_for_a_while() -> None:
    made: list[int] = []
    few: Reservoir[int] = Reservoir(3, random.Random(2))
    for number in range(10_000):
        few.show(1, lambda number=number: made.append(number) or number)  # type: ignore[misc, func-returns-value]
    assert len(few.kept()) == 3
    assert set(few.kept()) <= set(made)
    assert len(made) < 100
    none: Reservoir[int] = Reservoir(0, random.Random(2))
    none.show(1, lambda: made.append(0) or 0)  # type: ignore[func-returns-value]
    assert none.kept() == ()


def test_kinds_take_turns() -> None:
    assert in_turn([["a1"], ["b1", "b2", "b3"], []], 3) == ["a1", "b1", "b2"]
    assert in_turn([["a1"], ["b1", "b2"]], 9) == ["a1", "b1", "b2"]
