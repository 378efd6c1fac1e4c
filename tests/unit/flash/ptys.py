"""A serial line of this machine: a pty, whose other end the test holds."""

from __future__ import annotations

import os
import pty
import select
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager

from imagekit.host.serialline import SystemSerial, open_line


def exactly(descriptor: int, count: int) -> bytes:
    """So many bytes from a descriptor."""
    got = b""
    while len(got) < count:
        got += os.read(descriptor, count - len(got))
    return got


class Far:
    """`SerialLine` at the far end of a pty."""

    name = "far end"
    baud = 115200

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, timeout_s: float) -> bytes:
        if not select.select([self.descriptor], [], [], timeout_s)[0]:
            return b""
        try:
            return os.read(self.descriptor, 4096)
        except OSError:  # the near end is closed
            return b""

    def write(self, content: bytes) -> None:
        while content:
            content = content[os.write(self.descriptor, content):]

    def set_baud(self, baud: int) -> None:
        self.baud = baud

    def close(self) -> None:
        """The test closes it."""


@contextmanager
def line_of_its_own() -> Iterator[tuple[SystemSerial, Far]]:
    """Our end, opened as a user's would be, and the board's."""
    far, near = pty.openpty()
    try:
        tty.setraw(near)
        with closing(open_line(os.ttyname(near), baud=115200)) as line:
            yield line, Far(far)
    finally:
        os.close(near)
        os.close(far)
