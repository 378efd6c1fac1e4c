"""A fixed number of large buffers that all stages share, so that memory does not grow with the number of media.

Each is a mapping of its own: aligned to pages, as direct reads and writes demand. A buffer that is handed to several
media goes back when the last of them has let go. What a medium holds that hangs is used no more, for a call that is
still on its way may read it, or read into it: others get as many fresh ones.
"""

from __future__ import annotations

import ctypes
import mmap
import queue
import threading
from collections import deque
from collections.abc import Iterable

from imagekit.plan.flash import PIECE

BUFFERS = 9  # 36 MiB
BESIDE = 9  # of 1 MiB

_LIBC = ctypes.CDLL(None)
_LIBC.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Buffer:
    """Room for one piece. `view` is what of it is in use."""

    def __init__(self, size: int = PIECE) -> None:
        self._memory = mmap.mmap(-1, size)
        self.whole = memoryview(self._memory)
        self.view = self.whole
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.holders: set[object] = set()

    def take(self, length: int) -> memoryview:
        """The first `length` bytes."""
        self.view = self.whole[:length]
        return self.view


class Pool:
    """The buffers, for holders of any kind: a medium, the image's reader."""

    def __init__(self, count: int = BUFFERS, size: int = PIECE) -> None:
        self._size, self._lock = size, threading.Lock()
        self._free = [Buffer(size) for _ in range(count)]
        self._all = set(self._free)
        self._waiting: deque[tuple[object, queue.SimpleQueue[Buffer | None]]] = deque()
        self._ended: set[object] = set()

    def get(self, holder: object) -> Buffer | None:
        """A buffer; who waits gets one in turn. None: `end` was called for this holder."""
        with self._lock:
            if holder in self._ended:
                return None
            if self._free:
                buffer = self._free.pop()
                buffer.holders = {holder}
                return buffer
            turn: queue.SimpleQueue[Buffer | None] = queue.SimpleQueue()
            self._waiting.append((holder, turn))
        return turn.get()

    def share(self, buffer: Buffer, holders: Iterable[object]) -> None:
        """They hold it too, and each will let go of it."""
        with self._lock:
            buffer.holders.update(holders)

    def let_go(self, buffer: Buffer, holder: object) -> None:
        with self._lock:
            buffer.holders.discard(holder)
            if not buffer.holders and buffer in self._all:
                self._hand_on(buffer)

    def end(self, holder: object) -> None:
        """It gets no more, and waits no longer."""
        with self._lock:
            self._ended.add(holder)
            turns = [turn for who, turn in self._waiting if who is holder]
            self._waiting = deque(item for item in self._waiting if item[0] is not holder)
        for turn in turns:
            turn.put(None)

    def abandon(self, holder: object) -> None:
        """As `end`; and what it holds may never come back: there are fresh ones instead."""
        self.end(holder)
        with self._lock:
            for buffer in [item for item in self._all if holder in item.holders]:
                self._all.remove(buffer)
                fresh = Buffer(self._size)
                self._all.add(fresh)
                self._hand_on(fresh)

    def _hand_on(self, buffer: Buffer) -> None:
        """To whoever has waited longest; the lock is held."""
        if not self._waiting:
            self._free.append(buffer)
            return
        holder, turn = self._waiting.popleft()
        buffer.holders = {holder}
        turn.put(buffer)


def equal(one: Buffer, at: int, other: Buffer, other_at: int, length: int) -> bool:
    """Whether two buffers hold the same bytes at these places. Other threads run meanwhile."""
    return not _LIBC.memcmp(one.address + at, other.address + other_at, length)
