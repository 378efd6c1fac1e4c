"""A board that speaks fastboot over USB, behind pyusb: a backend that stands where libusb does.

What is asked of it is what libusb is asked: descriptors, opening, claiming, and bulk transfers. The board's answers are
those of `imagekit.testing.fastboot`; a transfer is cut into short ones where that is asked for.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from usb.backend import IBackend
from usb.core import USBError

from imagekit.boot.fastboot import USB_CLASS
from imagekit.testing.fastboot import FastbootBoard

OUT, IN = 0x01, 0x81
BULK = 2
BUS, ADDRESS = 1, 7


@dataclass(slots=True, kw_only=True)
class UsbBoard:
    """The board, and how its USB is."""

    board: FastbootBoard
    interface: tuple[int, int, int] = USB_CLASS
    ends: tuple[int, ...] = (OUT, IN)
    refuses: int = 0  # errno of opening
    busy: bool = False
    short: int = 1 << 30  # so many bytes are taken at once
    gone_after: int = 1 << 60  # bytes that are taken before the cable is pulled
    empty: bool = False  # a packet of no length before each answer

    answers: list[bytes] = field(default_factory=list)
    expected: int = 0
    got: bytearray = field(default_factory=bytearray)
    claimed: bool = False

    def take(self, content: bytes) -> int:
        """Bytes that come from the host; how many were taken."""
        content = content[:self.short]
        self.gone_after -= len(content)
        if self.gone_after < 0:
            raise USBError("No such device", errno=errno.ENODEV)
        if self.expected:
            self.got += content
            if len(self.got) == self.expected:
                self.board.held, self.expected = bytes(self.got), 0
                self._say("OKAY")
            return len(content)
        command = content.decode("ascii")
        self.board.commands.append(command)
        if command.startswith("download:"):
            self.expected, self.got = int(command.partition(":")[2], 16), bytearray()
            self._say(f"DATA{self.expected:08x}")
        elif not (self.board.mute_at and command.startswith(self.board.mute_at)):
            for text in self.board.answer(command):
                self._say(text)
        return len(content)

    def _say(self, text: str) -> None:
        self.answers += [b"", text.encode()] if self.empty else [text.encode()]

    def give(self) -> bytes:
        if not self.answers:
            raise USBError("Operation timed out", errno=errno.ETIMEDOUT)
        return self.answers.pop(0)


class FakeBackend(IBackend):  # type: ignore[misc]  # pyusb has no types
    """What pyusb asks libusb for, of one device."""

    def __init__(self, device: UsbBoard) -> None:
        super().__init__()
        self.device = device

    def enumerate_devices(self) -> Any:
        return iter([self.device])

    def get_parent(self, dev: Any) -> None:
        return None

    def get_device_descriptor(self, dev: Any) -> Any:
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x0200, bDeviceClass=0, bDeviceSubClass=0, bDeviceProtocol=0,
            bMaxPacketSize0=64, idVendor=0x1F3A, idProduct=0x1010, bcdDevice=0x0100, iManufacturer=0, iProduct=0,
            iSerialNumber=0, bNumConfigurations=1, address=ADDRESS, bus=BUS, port_number=1, port_numbers=(1,), speed=3)

    def get_configuration_descriptor(self, dev: Any, config: int) -> Any:
        if config:
            raise IndexError(config)
        return SimpleNamespace(bLength=9, bDescriptorType=2, wTotalLength=32, bNumInterfaces=1, bConfigurationValue=1,
                               iConfiguration=0, bmAttributes=0x80, bMaxPower=50, extra_descriptors=b"")

    def get_interface_descriptor(self, dev: Any, intf: int, alt: int, config: int) -> Any:
        if intf or alt:
            raise IndexError(intf)
        kind = self.device.interface
        return SimpleNamespace(bLength=9, bDescriptorType=4, bInterfaceNumber=0, bAlternateSetting=0,
                               bNumEndpoints=len(self.device.ends), bInterfaceClass=kind[0], bInterfaceSubClass=kind[1],
                               bInterfaceProtocol=kind[2], iInterface=0, extra_descriptors=b"")

    def get_endpoint_descriptor(self, dev: Any, ep: int, intf: int, alt: int, config: int) -> Any:
        return SimpleNamespace(bLength=7, bDescriptorType=5, bEndpointAddress=self.device.ends[ep], bmAttributes=BULK,
                               wMaxPacketSize=512, bInterval=0, bRefresh=0, bSynchAddress=0, extra_descriptors=b"")

    def open_device(self, dev: Any) -> Any:
        if self.device.refuses:
            raise USBError("refused", errno=self.device.refuses)
        return self.device

    def close_device(self, dev_handle: Any) -> None:
        pass

    def get_configuration(self, dev_handle: Any) -> int:
        return 1

    def set_interface_altsetting(self, dev_handle: Any, intf: int, altsetting: int) -> None:
        pass

    def claim_interface(self, dev_handle: Any, intf: int) -> None:
        if self.device.busy:
            raise USBError("Resource busy", errno=errno.EBUSY)
        self.device.claimed = True

    def release_interface(self, dev_handle: Any, intf: int) -> None:
        self.device.claimed = False

    def bulk_write(self, dev_handle: Any, ep: int, intf: int, data: Any, timeout: int) -> int:
        assert ep == OUT
        return self.device.take(bytes(data))

    def bulk_read(self, dev_handle: Any, ep: int, intf: int, buff: Any, timeout: int) -> int:
        assert ep == IN
        content = self.device.give()
        buff[:len(content)] = type(buff)("B", content)
        return len(content)
