"""The host that watches this boot over the console's UART, where the machine has no virtio port.

Only this side speaks first. The hello is said again every `HELLO_EVERY_S` while the checks run, the verdict every
`TELL_EVERY_S` until its receipt comes; the host answers what it heard and never starts, so that no byte of it can meet
a boot loader. A device without a host says a few hellos, waits no longer for an answer than `GRACE_S` after its checks
(`PATIENCE_S` after the first hello, if the checks were quicker), and says no verdict. Of all that comes in, one framed
challenge has an effect: it is repeated in the verdict. Nothing listens before or afterwards.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from pathlib import Path

from imagekit.boot.frames import Joiner, decode_frame, encode_frames
from imagekit.boot.health import LINE_MAX, Challenge, Hello, Message, Receipt, Verdict, decode_message, encode_message
from imagekit.device.machine import Programs
from imagekit.device.port import TELL_TIMEOUT_S, wait_ready, write_all
from imagekit.errors import DocumentError, TargetError

HELLO_EVERY_S = 2.0
HELLOS = 5
TELL_EVERY_S = 1.0
GRACE_S = 0.5
PATIENCE_S = 3.0
_WRITE_TIMEOUT_S = 1.0
_SLICE_S = 0.1
# Bytes as they come and no echo of them; what is printed keeps its line ends, as others print to the same line.
_RAW = ("-icanon", "-echo", "-echonl", "-isig", "-iexten", "-ixon", "-ixoff", "-icrnl", "-inlcr", "-igncr", "-istrip",
        "ignbrk", "-brkint", "clocal", "cread", "min", "0", "time", "0")


class ConsoleHost:
    """The conversation over one UART; lost is lost, as with the port."""

    def __init__(self, path: Path, handle: int, programs: Programs) -> None:
        self._path = path
        self._handle = handle
        self._programs = programs
        self._restored = programs.run("stty", "-F", str(path), "-g").strip()
        programs.run("stty", "-F", str(path), *_RAW)
        self._received = b""
        self._joiner = Joiner()
        self._nonce = ""
        self._greeted_s = 0.0
        self._over = threading.Event()
        self._greeter: threading.Thread | None = None

    def greet(self, hello: Hello) -> bool:
        """Say it now and again in the background; somebody may be listening."""
        self._greeted_s = time.monotonic()
        self._greeter = threading.Thread(target=self._greet, args=(encode_frames(encode_message(hello)),), daemon=True)
        self._greeter.start()
        return True

    def challenge(self, *, timeout_s: float) -> str:
        """The nonce, empty when none came during the checks and shortly after them."""
        now = time.monotonic()
        if self._greeter is not None:
            self._greeter.join(max(0.0, min(timeout_s, max(GRACE_S, self._greeted_s + PATIENCE_S - now))))
            self._over.set()
            self._greeter.join()
        return self._nonce

    def tell(self, verdict: Verdict) -> None:
        """Say it until it is confirmed; to nobody where nobody asked."""
        if not verdict.nonce:
            return
        self._over.clear()
        frames = encode_frames(encode_message(verdict))
        deadline = time.monotonic() + TELL_TIMEOUT_S
        while time.monotonic() < deadline and write_all(self._handle, frames, timeout_s=_WRITE_TIMEOUT_S):
            for message in self._messages(min(deadline, time.monotonic() + TELL_EVERY_S)):
                if message == Receipt(nonce=verdict.nonce):
                    return

    def close(self) -> None:
        """Leave the line as it was found."""
        self._over.set()
        with suppress(TargetError):
            self._programs.run("stty", "-F", str(self._path), self._restored)
        os.close(self._handle)

    def _greet(self, frames: bytes) -> None:
        said = 0
        while not self._over.is_set():
            if said < HELLOS and not write_all(self._handle, frames, timeout_s=_WRITE_TIMEOUT_S):
                return
            said += 1
            for message in self._messages(time.monotonic() + HELLO_EVERY_S):
                if isinstance(message, Challenge):
                    self._nonce = message.nonce
                    return

    def _messages(self, deadline: float) -> list[Message]:
        """What comes until the deadline, at once when something came."""
        while not self._over.is_set() and time.monotonic() < deadline:
            wait_ready(self._handle, select.POLLIN, min(deadline, time.monotonic() + _SLICE_S))
            self._received = (self._received + self._read())[-LINE_MAX:]
            if found := self._take():
                return found
        return []

    def _read(self) -> bytes:
        with suppress(OSError):  # nothing yet, or hung up
            if came := os.read(self._handle, LINE_MAX):
                return came
        time.sleep(_SLICE_S / 10)
        return b""

    def _take(self) -> list[Message]:
        *lines, self._received = self._received.split(b"\n")
        found = []
        for line in lines:
            frame = decode_frame(line.rstrip(b"\r"))
            whole = self._joiner.add(frame) if frame else None
            if whole is not None:
                with suppress(DocumentError):
                    found.append(decode_message(whole))
        return found


def open_console(*, programs: Programs, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> ConsoleHost | None:
    """The UART that the kernel prints to, None where its console is anything else."""
    tty = sys / "class/tty"
    with suppress(OSError, TargetError, IndexError):
        name = (tty / "console/active").read_text().split()[-1]  # the last is /dev/console
        if (tty / name / "type").read_text().strip() != "0":  # only UARTs have it; 0: none was found there
            handle = os.open(dev / name, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                return ConsoleHost(dev / name, handle, programs)
            except TargetError:
                os.close(handle)
    return None
