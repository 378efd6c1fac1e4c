"""The virtio-serial port to the host that watches this boot, if there is one.

Found by its name in sysfs, without udev. Nothing here waits longer than it is told: a host that does not listen, or a
machine without the port, changes the verdict in no way.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

from imagekit.boot.health import LINE_MAX, PORT_NAME, Challenge, Message, decode_message, encode_message
from imagekit.errors import DocumentError


class HealthPort:
    """One open port; lost is lost: after the first error everything is a no-op."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._received = b""

    def send(self, message: Message, *, timeout_s: float) -> bool:
        """Write one message; False when the host did not take it in time."""
        rest = encode_message(message)
        deadline = time.monotonic() + timeout_s
        with suppress(OSError):
            while rest:
                with suppress(BlockingIOError):
                    rest = rest[os.write(self._handle, rest):]
                    continue
                if not self._wait(select.POLLOUT, deadline):
                    return False
            return True
        return False

    def challenge(self, *, timeout_s: float) -> str:
        """The host's nonce, empty when none comes in time."""
        deadline = time.monotonic() + timeout_s
        with suppress(OSError):
            while True:
                line, newline, rest = self._received.partition(b"\n")
                if newline:
                    self._received = rest
                    with suppress(DocumentError):
                        message = decode_message(line)
                        if isinstance(message, Challenge):
                            return message.nonce
                    continue
                if len(self._received) > LINE_MAX or not self._wait(select.POLLIN, deadline):
                    return ""
                with suppress(BlockingIOError):
                    self._received += os.read(self._handle, LINE_MAX)
        return ""

    def close(self) -> None:
        os.close(self._handle)

    def _wait(self, event: int, deadline: float) -> bool:
        """Wait until the port may be ready; a port without a host is never ready and says so by POLLHUP."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        poller = select.poll()
        poller.register(self._handle, event)
        ready = poller.poll(left * 1000)
        if ready and not ready[0][1] & event:
            time.sleep(min(left, 0.1))
        return True


def open_port(*, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> HealthPort | None:
    """The port, or None on a machine that has none."""
    with suppress(OSError):
        for name in sorted((sys / "class/virtio-ports").glob("*/name")):
            if name.read_text().strip() == PORT_NAME:
                return HealthPort(os.open(dev / name.parent.name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    return None
