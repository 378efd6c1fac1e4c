"""Boards at a cable: one whose boot loader speaks fastboot, and the boot ROM of an i.MX 6 that waits for a loader.

Source: NXP i.MX 6Dual/6Quad Applications Processor Reference Manual, rev. 6, 8.9 (serial downloader: reports 1 to 4,
commands, answers of an open device) and 8.7 (IVT, boot data, DCD). Device Class Definition for HID 1.11, 6.2 and 7.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field

from usb.core import USBError

from imagekit.testing.usbfastboot import IN, OUT, UsbBoard
from tests.boot.usbredir import BULK, GET_DESCRIPTOR, INTERRUPT, GoneError

HID, REPORTS, SET_REPORT, TO_INTERFACE, FROM_INTERFACE = 0x21, 0x22, 9, 0x21, 0x81
COMMAND, DATA, STATE, ANSWER = 1, 2, 3, 4  # reports
WRITE_FILE, DCD_WRITE, JUMP = 0x0404, 0x0A0A, 0x0B0B
OPEN, WRITTEN, DCD_DONE = 0x56787856, 0x88888888, 0x128A8A12
IVT, DCD_POINTER = 0x402000D1, 12


def report(number: int, kind: int, bits: int, count: int) -> bytes:
    """What describes a report of so many fields; `kind` is input (0x81) or output (0x91)."""
    return bytes([0x85, number, 0x19, 1, 0x29, 1, 0x15, 0, 0x26, 255, 0, 0x75, bits, 0x95, count, kind, 2])


ABOUT_REPORTS = (b"\x06\x00\xff\x09\x01\xa1\x01" + report(COMMAND, 0x91, 8, 16) + report(DATA, 0x91, 0x80, 64)
                 + report(STATE, 0x81, 8, 4) + report(ANSWER, 0x81, 8, 64) + b"\xc0")


@dataclass(slots=True)
class FastbootDevice:
    """A board that speaks fastboot. It goes when its cable breaks, or when it is told to reboot."""

    usb: UsbBoard
    vendor: int = 0x1F3A
    product: int = 0x1010
    ends: dict[int, int] = field(default_factory=lambda: {OUT: BULK, IN: BULK})
    about_interface: bytes = b""
    answers: deque[bytes] = field(default_factory=deque)

    @property
    def serial(self) -> str:
        return self.usb.board.serial

    @property
    def interface(self) -> tuple[int, int, int]:
        return self.usb.interface

    def request(self, kind: int, request: int, value: int, content: bytes) -> None:
        """It knows none."""

    def take(self, content: bytes) -> int:
        try:
            taken = self.usb.take(content)
        except USBError as error:
            raise GoneError from error
        while self.usb.answers:
            self.answers.append(self.usb.give())
        return taken

    def is_gone(self) -> bool:
        return self.usb.board.commands[-1:] == ["reboot"] and not self.answers


@dataclass(slots=True)
class ImxRom:
    """The boot ROM: takes files into its memory until it is told to start one that begins with an IVT."""

    vendor: int = 0x15A2
    product: int = 0x0054
    serial: str = "ROM"
    interface: tuple[int, int, int] = (3, 0, 0)
    ends: dict[int, int] = field(default_factory=lambda: {IN: INTERRUPT})
    about_interface: bytes = struct.pack("<2BH3BH", 9, HID, 0x0111, 0, 1, REPORTS, len(ABOUT_REPORTS))
    answers: deque[bytes] = field(default_factory=deque)

    memory: bytearray = field(default_factory=bytearray)
    base: int | None = None  # the address of the memory's beginning, that of the first file
    registers: bytes = b""  # the DCD that it ran
    started: int | None = None  # the address that it jumped to
    kind: int = 0  # of the file that comes
    address: int = 0
    wanted: int = 0
    file: bytearray = field(default_factory=bytearray)

    def request(self, kind: int, request: int, value: int, content: bytes) -> bytes | None:
        if (kind, request, value >> 8) == (FROM_INTERFACE, GET_DESCRIPTOR, REPORTS):
            return ABOUT_REPORTS
        if (kind, request) != (TO_INTERFACE, SET_REPORT):
            return None
        assert content[0] == value & 0xFF
        if content[0] == COMMAND:
            self._command(content[1:])
        elif content[0] == DATA:
            self._data(content[1:])
        return b""

    def _command(self, content: bytes) -> None:
        self.kind, self.address, _, self.wanted, _, _ = struct.unpack(">HIBIIB", content)
        self.file = bytearray()
        if self.kind == JUMP:
            assert self.base is not None
            start = self.address - self.base
            barker, _, _, dcd = struct.unpack_from("<4I", self.memory, start)
            assert (barker, dcd) == (IVT, 0), "no IVT, or one whose DCD would run again"
            self.started = self.address
            self._say(STATE, OPEN, 4)
        else:
            assert self.kind in (WRITE_FILE, DCD_WRITE), hex(self.kind)

    def _data(self, content: bytes) -> None:
        """A piece of a file; what is behind its end in the last report means nothing."""
        self.file += content
        if len(self.file) < self.wanted:
            return
        del self.file[self.wanted:]
        self._say(STATE, OPEN, 4)
        if self.kind == DCD_WRITE:
            self.registers = bytes(self.file)
            self._say(ANSWER, DCD_DONE, 64)
            return
        self.base = self.address if self.base is None else self.base
        start = self.address - self.base
        self.memory[start:start + self.wanted] = self.file
        self._say(ANSWER, WRITTEN, 64)

    def _say(self, number: int, word: int, size: int) -> None:
        self.answers.append(bytes([number]) + struct.pack(">I", word).ljust(size, b"\0"))

    def take(self, content: bytes) -> int:
        raise AssertionError("it has no endpoint to write to")

    def is_gone(self) -> bool:
        return self.started is not None and not self.answers
