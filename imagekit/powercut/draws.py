"""States that are drawn, so that a few stand for millions.

Nearly all states of an update lie in the writing of the idle slot, and are of one class. So of each class a few are
drawn, each of its states as likely as any other; whoever tries some for real takes them from all classes in turn.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Generic, TypeVar

T = TypeVar("T")


class Reservoir(Generic[T]):
    """So many of all that is shown to it.

    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006, algorithm A-Res.
    """

    def __init__(self, size: int, draw: random.Random) -> None:
        self._size, self._draw = size, draw
        self._heap: list[tuple[float, int, T]] = []
        self._shown = 0

    def show(self, weight: int, make: Callable[[], T]) -> None:
        """One that is as likely as `weight` others; it is made only if it is kept, for now."""
        if not self._size:
            return
        self._shown += 1
        key = self._draw.random() ** (1 / weight)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (key, self._shown, make()))
        elif key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (key, self._shown, make()))

    def kept(self) -> tuple[T, ...]:
        """What was kept, the order drawn too."""
        return tuple(item for *_, item in sorted(self._heap, reverse=True))


def in_turn(kinds: Sequence[Sequence[T]], count: int) -> list[T]:
    """So many, the first of each kind, then the second of each; fewer where there are not as many."""
    return [item for one_of_each in zip_longest(*kinds) for item in one_of_each if item is not None][:count]
