"""A fixed number of large buffers that all stages share, so that memory does not grow with the number of media.

Each is a mapping of its own: aligned to pages, as direct reads and writes demand. A buffer that is handed to several
media goes back when the last of them has let go.
"""

from __future__ import annotations

import ctypes
import mmap
import queue
import threading

from imagekit.plan.flash import PIECE

BUFFERS = 9  # 36 MiB

_LIBC = ctypes.CDLL(None)
_LIBC.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Buffer:
    """Room for one piece. `view` is what of it is in use."""

    def __init__(self, size: int = PIECE) -> None:
        self._memory = mmap.mmap(-1, size)
        self.whole = memoryview(self._memory)
        self.view = self.whole
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.holders = 0

    def take(self, length: int) -> memoryview:
        """The first `length` bytes."""
        self.view = self.whole[:length]
        return self.view


class Pool:
    """The buffers; `get` waits for one."""

    def __init__(self, count: int = BUFFERS, size: int = PIECE) -> None:
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(count):
            self._free.put(Buffer(size))

    def get(self) -> Buffer:
        """A buffer, held once."""
        buffer = self._free.get()
        buffer.holders = 1
        return buffer

    def share(self, buffer: Buffer, more: int) -> None:
        """So many more will let go of it."""
        with self._lock:
            buffer.holders += more

    def let_go(self, buffer: Buffer) -> None:
        with self._lock:
            buffer.holders -= 1
            free = not buffer.holders
        if free:
            self._free.put(buffer)


def equal(one: Buffer, at: int, other: Buffer, other_at: int, length: int) -> bool:
    """Whether two buffers hold the same bytes at these places. Other threads run meanwhile."""
    return not _LIBC.memcmp(one.address + at, other.address + other_at, length)
