"""USB devices that this process pretends, plugged into a machine in QEMU: its `usb-redir` and this talk over a socket.

The machine's kernel, udev and libusb see a device of USB 2. What the device says and does is a `Device`'s.

Source: usbredir 0.7, docs/usb-redirection-protocol.md. Universal Serial Bus Specification 2.0, 9.3 to 9.6.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import Protocol

HELLO, CONNECT, DISCONNECT, RESET, INTERFACES, ENDS = range(6)
SET_CONFIGURATION, GET_CONFIGURATION, CONFIGURATION_STATUS, SET_ALT, GET_ALT, ALT_STATUS = range(6, 12)
LISTEN, LISTEN_NO_MORE, LISTEN_STATUS, CANCEL = 15, 16, 17, 21
CONTROL, BULK_PACKET, INTERRUPT_PACKET = 100, 101, 103
DONE, CANCELLED, STALLED = 0, 1, 4
HIGH_SPEED = 2
DEVICE_VERSION, PACKET_SIZES, LONG_IDS, LONG_LENGTHS = 1 << 1, 1 << 4, 1 << 5, 1 << 6
TO_HOST, BULK, INTERRUPT = 0x80, 2, 3
PACKET, LEAST = {BULK: 512, INTERRUPT: 64}, 64  # bytes at an endpoint, and at the endpoint 0
GET_DESCRIPTOR, DEVICE, CONFIGURATION, STRING, INTERFACE, END = 6, 1, 2, 3, 4, 5
ENGLISH = 0x0409
CONTROL_HEADER, BULK_HEADER = struct.Struct("<4B3H"), struct.Struct("<2BHIH")


class GoneError(Exception):
    """The device is no longer at its cable."""


class Device(Protocol):
    """A device with one interface. Calls raise `GoneError` where it goes without a word."""

    vendor: int
    product: int
    serial: str
    interface: tuple[int, int, int]
    ends: dict[int, int]  # endpoints and their kinds
    about_interface: bytes  # further descriptors
    answers: deque[bytes]  # for the host, at the one endpoint that it reads

    def request(self, kind: int, request: int, value: int, content: bytes) -> bytes | None:
        """A request that is not of every device. None: it stalls."""

    def take(self, content: bytes) -> int:
        """What the host sends to the one endpoint that it writes; how much of it is taken."""

    def is_gone(self) -> bool:
        """It has nothing more to say, and goes."""


class UsbPort:
    """The far end of a `usb-redir`, at which one device after the other is."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._device: Device | None = None
        self._next: deque[Device] = deque()
        self._waiting: deque[tuple[int, int]] = deque()  # ids of bulk transfers to the host, and their lengths
        self._listens = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def plug(self, *devices: Device) -> None:
        """Plug the first in; each of the others takes the place of the one before as soon as that goes."""
        self._next = deque(devices)
        self._plug()

    def close(self) -> None:
        """Unplug it, machine or none."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _plug(self) -> None:
        device = self._next.popleft()
        self._waiting.clear()
        self._listens = False
        kinds, sizes = bytearray(b"\xff" * 32), [0] * 32  # those from the host, then those to it
        kinds[0] = kinds[16] = 0
        sizes[0] = sizes[16] = LEAST
        for end, kind in device.ends.items():
            place = end & 0x0F | (end & TO_HOST) >> 3
            kinds[place], sizes[place] = kind, PACKET[kind]
        self._device = device
        self._send(INTERFACES, 0, struct.pack("<I32s32s32s32s", 1, b"", *(bytes([it]) for it in device.interface)))
        self._send(ENDS, 0, bytes(kinds) + b"\x04" * 32 + bytes(32) + struct.pack("<32H", *sizes))
        self._send(CONNECT, 0, struct.pack("<4B3H", HIGH_SPEED, 0, 0, 0, device.vendor, device.product, 0x0100))

    def _serve(self) -> None:
        hello = struct.pack("<64sI", b"imagekit's tests", DEVICE_VERSION | PACKET_SIZES | LONG_IDS | LONG_LENGTHS)
        with suppress(OSError, EOFError):
            self._link.sendall(struct.pack("<3I", HELLO, len(hello), 0) + hello)
            _, length, _ = struct.unpack("<3I", self._exactly(12))
            self._exactly(length)
            while True:
                kind, length, number = struct.unpack("<2IQ", self._exactly(16))
                self._heard(kind, number, self._exactly(length))

    def _heard(self, kind: int, number: int, content: bytes) -> None:
        """A packet of the host's. What still comes for a device that is gone is passed over."""
        device = self._device
        if device is None or kind == RESET:
            return
        try:
            if kind in (SET_CONFIGURATION, GET_CONFIGURATION):
                self._send(CONFIGURATION_STATUS, number, bytes([DONE, 1]))
            elif kind in (SET_ALT, GET_ALT):
                self._send(ALT_STATUS, number, bytes([DONE, content[0], 0]))
            elif kind in (LISTEN, LISTEN_NO_MORE):
                self._listens = kind == LISTEN
                self._send(LISTEN_STATUS, number, bytes([DONE, content[0]]))
            elif kind == CONTROL:
                self._control(device, number, content)
            elif kind == BULK_PACKET:
                self._bulk(device, number, content)
            else:
                assert kind == CANCEL, kind
                self._cancel(device, number)
            self._answer(device)
            gone = device.is_gone()
        except GoneError:
            gone = True
        if gone:
            self._device = None
            self._send(DISCONNECT, 0, b"")
            if self._next:
                self._plug()

    def _control(self, device: Device, number: int, content: bytes) -> None:
        end, request, kind, _, value, index, length = CONTROL_HEADER.unpack(content[:CONTROL_HEADER.size])
        sent = content[CONTROL_HEADER.size:]
        found = descriptor(device, value >> 8, value & 0xFF) if (kind, request) == (TO_HOST, GET_DESCRIPTOR) \
            else device.request(kind, request, value, sent)
        told = (found or b"")[:length]
        self._send(CONTROL, number, CONTROL_HEADER.pack(
            end, request, kind, STALLED if found is None else DONE, value, index, len(told) or len(sent)) + told)

    def _bulk(self, device: Device, number: int, content: bytes) -> None:
        end, _, low, _, high = BULK_HEADER.unpack(content[:BULK_HEADER.size])
        if end & TO_HOST:
            self._waiting.append((number, low | high << 16))
        else:
            taken = device.take(content[BULK_HEADER.size:])
            self._send(BULK_PACKET, number, BULK_HEADER.pack(end, DONE, taken & 0xFFFF, 0, taken >> 16))

    def _cancel(self, device: Device, number: int) -> None:
        """A transfer that the host no longer waits for. One that has ended meanwhile is no longer known."""
        for item in list(self._waiting):
            if item[0] == number:
                self._waiting.remove(item)
                self._send(BULK_PACKET, number, BULK_HEADER.pack(_read_end(device), CANCELLED, 0, 0, 0))

    def _answer(self, device: Device) -> None:
        """Whatever it has to say to whoever waits for it."""
        end = _read_end(device)
        while device.answers and (self._waiting or self._listens):
            answer = device.answers.popleft()
            if device.ends[end] == INTERRUPT:
                self._send(INTERRUPT_PACKET, 0, struct.pack("<2BH", end, DONE, len(answer)) + answer)
                continue
            number, length = self._waiting.popleft()
            assert len(answer) <= length
            self._send(BULK_PACKET, number, BULK_HEADER.pack(end, DONE, len(answer), 0, 0) + answer)

    def _send(self, kind: int, number: int, content: bytes) -> None:
        self._link.sendall(struct.pack("<2IQ", kind, len(content), number) + content)

    def _exactly(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            if not (piece := self._link.recv(size - len(got))):
                raise EOFError
            got += piece
        return bytes(got)


def descriptor(device: Device, kind: int, number: int) -> bytes | None:
    """What a device says of itself; None: it has no such descriptor."""
    texts = ("imagekit", "pretended", device.serial)
    if kind == DEVICE:
        return struct.pack("<2BH4B3H4B", 18, DEVICE, 0x0200, 0, 0, 0, LEAST, device.vendor, device.product, 0x0100,
                           1, 2, 3, 1)
    if kind == CONFIGURATION and number == 0:
        inside = struct.pack("<9B", 9, INTERFACE, 0, 0, len(device.ends), *device.interface, 0)
        inside += device.about_interface
        inside += b"".join(struct.pack("<4BHB", 7, END, end, kind, PACKET[kind], 4)
                           for end, kind in device.ends.items())
        return struct.pack("<2BH5B", 9, CONFIGURATION, 9 + len(inside), 1, 1, 0, 0x80, 50) + inside
    if kind == STRING and number <= len(texts):
        text = struct.pack("<H", ENGLISH) if number == 0 else texts[number - 1].encode("utf-16-le")
        return bytes([2 + len(text), STRING]) + text
    return None


def _read_end(device: Device) -> int:
    """The endpoint that the host reads."""
    end, = (end for end in device.ends if end & TO_HOST)
    return end
