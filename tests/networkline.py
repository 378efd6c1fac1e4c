"""A serial line at another machine: pyserial's own RFC 2217 server, or bare TCP, in front of a line of this one.

What is in front of a pty is what `ser2net` is in front of an adapter; in front of a `socket://` it stands before QEMU.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import serial
import serial.rfc2217

LOOK_S = 0.05
UNSET = 1200  # baud, until a caller says another
NEGOTIATES_S = 60  # a busy machine's answers may come late


class PtyPort(serial.Serial):  # type: ignore[misc]  # pyserial has no annotations
    """A pty as a port: it has no modem lines."""

    cts = dsr = ri = cd = False

    def _update_rts_state(self) -> None:
        """There is none."""

    def _update_dtr_state(self) -> None:
        """There is none."""


class NetworkLine:
    """Serves one caller after another. `far` is the path of a pty or a URL; `port` is that line while it is in use."""

    def __init__(self, far: str, *, bare: bool) -> None:
        self._far, self._bare = far, bare
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._caller: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self.port: Any = None
        self.rates: list[int] = []  # what the line was set to, in order

    @property
    def url(self) -> str:
        where = f"127.0.0.1:{self._listening.getsockname()[1]}"
        return f"socket://{where}" if self._bare else f"rfc2217://{where}?timeout={NEGOTIATES_S}"

    def start(self) -> None:
        self._thread.start()

    def cut(self) -> None:
        """The connection is lost; the next caller is served."""
        if (caller := self._caller) is not None:
            with contextlib.suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._over.set()
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                self._caller, _ = self._listening.accept()
            except OSError:
                return
            with self._caller, contextlib.closing(self._open()) as port, contextlib.suppress(OSError):
                self.port = port
                self._carry(self._caller, port)
            self._caller = None

    def _open(self) -> Any:
        if "://" in self._far:
            return serial.serial_for_url(self._far, timeout=LOOK_S)
        return PtyPort(self._far, baudrate=UNSET, timeout=LOOK_S)

    def _carry(self, caller: socket.socket, port: Any) -> None:
        """Both ways, until the caller is gone."""
        manager = None if self._bare else serial.rfc2217.PortManager(port, _Wire(caller))
        gone = threading.Event()

        def back() -> None:
            with contextlib.suppress(OSError, serial.SerialException):
                while not gone.is_set():
                    if got := port.read(max(min(port.in_waiting, 4096), 1)):
                        caller.sendall(b"".join(manager.escape(got)) if manager else got)

        backwards = threading.Thread(target=back)
        backwards.start()
        try:
            while got := caller.recv(4096):
                port.write(b"".join(manager.filter(got)) if manager else got)
                if not self.rates or self.rates[-1] != port.baudrate:
                    self.rates.append(port.baudrate)
        finally:
            gone.set()
            backwards.join()


class _Wire:
    """What the port manager answers through."""

    def __init__(self, caller: socket.socket) -> None:
        self._caller = caller

    def write(self, content: bytes) -> None:
        self._caller.sendall(content)


@contextmanager
def served(far: str, *, bare: bool = False) -> Iterator[NetworkLine]:
    """A server in front of a line, until the block ends."""
    line = NetworkLine(far, bare=bare)
    line.start()
    try:
        yield line
    finally:
        line.end()
