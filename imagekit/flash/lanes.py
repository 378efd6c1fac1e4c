"""Take pieces from a queue on several threads, so that a medium has the next one while the last is on its way.

Decides what is complete when pieces may end out of order: what lies before the first one that is still on its way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from imagekit.errors import ImagekitError
from imagekit.flash.buffers import Buffer
from imagekit.flash.together import each
from imagekit.plan.flash import Piece

Item = tuple[Piece, Buffer] | ImagekitError | None


class Lanes:
    """`done` bytes of pieces have been taken. `next_item` waits for one; after None or an error no more come."""

    def __init__(self, next_item: Callable[[], Item], take: Callable[[Piece, Buffer], None]) -> None:
        self._next, self._take, self._highest = next_item, take, 0
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._running: dict[int, int] = {}  # lane -> range of its piece
        self._over = False
        self.done = 0

    def run(self, lanes: int, pulse: Callable[[], None]) -> None:
        """Take all pieces; `pulse` is called after each. Raises: what the queue holds, or what `take` raises."""
        each(range(lanes), lambda lane: self._drive(lane, pulse), helpers=lanes - 1)

    def _drive(self, lane: int, pulse: Callable[[], None]) -> None:
        while (item := self._begin(lane)) is not None:
            piece, buffer = item
            try:
                self._take(piece, buffer)
            except BaseException:
                with self._lock:
                    self._over = True
                raise
            with self._lock:
                del self._running[lane]
                self.done += piece.end - piece.start
                self._highest = max(self._highest, piece.range)
            pulse()

    def _begin(self, lane: int) -> tuple[Piece, Buffer] | None:
        """The next piece, noted as on its way before anybody can look."""
        with self._turn:
            if self._over:
                return None
            item = self._next()
            if isinstance(item, tuple):
                with self._lock:
                    self._running[lane] = item[0].range
                return item
            self._over = True
        if item is not None:
            raise item
        return None

    def snapshot(self) -> tuple[int, int]:
        """Bytes taken, and how many ranges from the first on are complete."""
        with self._lock:
            return self.done, min([self._highest, *self._running.values()])
