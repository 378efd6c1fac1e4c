"""A serial line by pyserial: a device of this machine, or one at the other end of a network (`rfc2217://`, `socket://`).

Decides how a line is opened and what is said when it cannot be. What is spoken over it is its user's.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from typing import Any

import serial

from imagekit.errors import HostError, TargetError

WRITE_S = 60.0  # the driver's buffer empties at the line's own pace
MOST = 4096
TICK_S = 0.02  # a line's own time limit is never changed: over rfc2217 that would be a negotiation each time


class SystemSerial:
    """`SerialLine` by pyserial."""

    def __init__(self, port: Any, *, name: str) -> None:
        self._port, self.name = port, name
        self.baud: int = port.baudrate

    def read(self, timeout_s: float) -> bytes:
        end = time.monotonic() + timeout_s
        try:
            while not self._port.in_waiting:
                if time.monotonic() >= end:
                    return b""
                if first := self._port.read(1):
                    return self._more(bytes(first))
            return self._more(self._port.read(1))
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error

    def _more(self, first: bytes) -> bytes:
        """What has arrived besides; where the line ends, that is told at the next call."""
        got = bytearray(first)
        with contextlib.suppress(serial.SerialException, OSError):
            while len(got) < MOST and (count := self._port.in_waiting):  # over a network it only says: some
                got += self._port.read(min(count, MOST))
        return bytes(got)

    def write(self, content: bytes) -> None:
        try:
            self._port.write(content)
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error

    def set_baud(self, baud: int) -> None:
        try:
            self._port.flush()
            self._port.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise TargetError(f"cannot use {self.name} at {baud} baud: {error}") from error
        self.baud = baud

    def close(self) -> None:
        with contextlib.suppress(serial.SerialException, OSError):
            self._port.close()

    def _gone(self, error: Exception) -> TargetError:
        return TargetError(f"cannot use serial line {self.name}: it is gone: {error}",
                           hint="was the adapter unplugged, or does another program read from it?")


def open_line(name: str, *, baud: int) -> SystemSerial:
    """Open a line by the path of its device or by a URL that pyserial knows; exclusively where it is a device.

    Raises:
        HostError: there is none, it is in use, or may not be opened.
    """
    try:
        port = serial.serial_for_url(name, do_not_open=True, baudrate=baud, timeout=TICK_S)
        if "://" not in name:  # a network's lines know neither
            port.exclusive, port.write_timeout = True, WRITE_S
        port.open()
    except (serial.SerialException, OSError, ValueError) as error:
        raise HostError(f"cannot open serial line {name}: {_why(error)}", hint=_hint(error, name)) from error
    return SystemSerial(port, name=name)


def _why(error: Exception) -> str:
    number = getattr(error, "errno", None)
    known = {errno.ENOENT: "there is no such device", errno.EACCES: "you may not use it",
             errno.EAGAIN: "another program has it open", errno.EBUSY: "another program has it open"}
    if isinstance(number, int) and number in known:
        return known[number]
    return "another program has it open" if "exclusively lock" in str(error) else str(error)


def _hint(error: Exception, name: str) -> str | None:
    number = getattr(error, "errno", None)
    if number == errno.EACCES:
        return "as a member of group dialout: sudo adduser $USER dialout, then log in again"
    if "://" in name:
        return "a URL is socket://HOST:PORT or rfc2217://HOST:PORT; is the server up?"
    if number == errno.ENOENT:
        found = ", ".join(sorted(item.device for item in _ports()))
        return f"there are: {found}" if found else "plug the adapter in; usually it is /dev/ttyUSB0 or /dev/ttyACM0"
    return None


def _ports() -> list[Any]:
    if sys.platform != "linux":
        return []
    from serial.tools.list_ports import comports

    return list(comports())
