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
from typing import Protocol

from imagekit.boot.health import LINE_MAX, PORT_NAME, Challenge, Hello, Verdict, decode_message, encode_message
from imagekit.errors import DocumentError

GREET_TIMEOUT_S = 1
TELL_TIMEOUT_S = 5


class Host(Protocol):
    """Whoever watches this boot, from here."""

    def greet(self, hello: Hello) -> bool:
        """Say hello; False when nobody can be listening."""

    def challenge(self, *, timeout_s: float) -> str:
        """The host's nonce, empty when none comes in time."""

    def tell(self, verdict: Verdict) -> None:
        """Say the verdict."""

    def close(self) -> None:
        """Listen no longer."""


class HealthPort:
    """One open port; lost is lost: after the first error everything is a no-op."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._received = b""

    def greet(self, hello: Hello) -> bool:
        """False when the host did not take it in time."""
        return write_all(self._handle, encode_message(hello), timeout_s=GREET_TIMEOUT_S)

    def tell(self, verdict: Verdict) -> None:
        write_all(self._handle, encode_message(verdict), timeout_s=TELL_TIMEOUT_S)

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
                if len(self._received) > LINE_MAX or not wait_ready(self._handle, select.POLLIN, deadline):
                    return ""
                with suppress(BlockingIOError):
                    self._received += os.read(self._handle, LINE_MAX)
        return ""

    def close(self) -> None:
        os.close(self._handle)


def write_all(handle: int, content: bytes, *, timeout_s: float) -> bool:
    """Write everything; False when the other end did not take it in time, or is gone."""
    deadline = time.monotonic() + timeout_s
    with suppress(OSError):
        while content:
            with suppress(BlockingIOError):
                content = content[os.write(handle, content):]
                continue
            if not wait_ready(handle, select.POLLOUT, deadline):
                return False
        return True
    return False


def wait_ready(handle: int, event: int, deadline: float) -> bool:
    """Wait until it may be ready, False at the deadline; a port without a host never is and says so by POLLHUP."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    poller = select.poll()
    poller.register(handle, event)
    ready = poller.poll(left * 1000)
    if ready and not ready[0][1] & event:
        time.sleep(min(left, 0.1))
    return True


def open_port(*, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> HealthPort | None:
    """The port, or None on a machine that has none."""
    with suppress(OSError):
        for name in sorted((sys / "class/virtio-ports").glob("*/name")):
            if name.read_text().strip() == PORT_NAME:
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                return HealthPort(os.open(dev / name.parent.name, flags))
    return None
