"""fastboot over USB: which device is meant, and pyusb over a backend that stands where libusb does."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from imagekit.boot.fastboot import USB_CLASS, UsbAddress
from imagekit.disk.sparse import encode_sparse
from imagekit.errors import HostError, TargetError
from imagekit.flash.fastboot import Fastboot
from imagekit.host.fastboot_usb import find_fastboot, open_usb
from imagekit.host.usbdevices import DeniedError, UsbDevice
from imagekit.testing.fastboot import FastbootBoard
from imagekit.testing.usbfastboot import ADDRESS, BUS, IN, OUT, FakeBackend, UsbBoard
from imagekit.units import BLOCK, MIB

FOUND = UsbDevice(port="1-1.4", vendor=0x1F3A, product=0x1010, bus=BUS, address=ADDRESS, serial="A1",
                  interfaces=(USB_CLASS,))
OTHER = replace(FOUND, port="1-1.3", serial="A2")
STICK = replace(FOUND, port="2-1", serial="A3", interfaces=((8, 6, 0x50),))


@contextlib.contextmanager
def spoken_with(device: UsbBoard) -> Iterator[Fastboot]:
    with contextlib.closing(open_usb(FOUND, backend=FakeBackend(device))) as link:
        yield Fastboot(link)


@pytest.mark.parametrize(("address", "found"), [
    (UsbAddress(serial="A2"), OTHER), (UsbAddress(port="1-1.4"), FOUND),
])
def test_device_is_named_by_serial_number_or_port(address: UsbAddress, found: UsbDevice) -> None:
    assert find_fastboot(address, [STICK, FOUND, OTHER]) == found


def test_only_one_needs_no_name() -> None:
    assert find_fastboot(UsbAddress(), [STICK, FOUND]) == FOUND


def test_several_are_told_and_none_is_chosen() -> None:
    with pytest.raises(TargetError, match="2 speak fastboot") as caught:
        find_fastboot(UsbAddress(), [FOUND, OTHER])
    assert "port 1-1.4 serial A1" in caught.value.details[0]


def test_absent_is_told_from_denied() -> None:
    with pytest.raises(HostError, match=r"at usb:1-1\.4:A2: no such USB device is plugged in"):
        find_fastboot(UsbAddress(port="1-1.4", serial="A2"), [STICK, FOUND, OTHER])
    with pytest.raises(HostError, match="no such USB device is plugged in") as caught:
        find_fastboot(UsbAddress(serial="A3"), [STICK, FOUND])
    assert not isinstance(caught.value, DeniedError)
    with pytest.raises(DeniedError, match="it is there, but you may not open it"):
        find_fastboot(UsbAddress(), [replace(FOUND, permitted=False)])


@pytest.mark.parametrize("device", [{}, {"short": 100_000}, {"empty": True}], ids=["whole", "short", "empty"])
def test_file_is_sent_and_written(device: dict[str, int]) -> None:
    board = FastbootBoard(disk=bytearray(4 * MIB), partitions={"all": (0, 4 * MIB)})
    usb = UsbBoard(board=board, **device)  # type: ignore[arg-type]
    noise = random.Random(1).randbytes(2 * MIB)
    with spoken_with(usb) as fastboot:
        assert usb.claimed
        assert fastboot.getvar("product") == "pretended"
        assert fastboot.getvar("none") is None
        fastboot.download(encode_sparse(4 * MIB, BLOCK, [(BLOCK, noise)]))
        fastboot.flash("all", len(noise))
    assert not usb.claimed
    assert board.disk == bytes(BLOCK) + noise + bytes(2 * MIB - BLOCK)


def test_cable_that_is_pulled_is_told() -> None:
    usb = UsbBoard(board=FastbootBoard(disk=bytearray(MIB)), gone_after=100_000)
    with spoken_with(usb) as fastboot, pytest.raises(TargetError, match="the connection is gone"):
        fastboot.download(bytes(MIB))


def test_silence_is_told() -> None:
    usb = UsbBoard(board=FastbootBoard(disk=bytearray(MIB), mute_at="reboot"))
    with spoken_with(usb) as fastboot, pytest.raises(TargetError, match="it does not answer"):
        fastboot.command("reboot")


@pytest.mark.parametrize(("values", "kind", "why"), [
    ({"refuses": errno.EACCES}, DeniedError, "you may not open it"),
    ({"refuses": errno.ENODEV}, HostError, "cannot open USB device 1f3a:1010 at port 1-1.4"),
    ({"busy": True}, HostError, "another program has it"),
    ({"interface": (8, 6, 0x50)}, HostError, "it has no interface for fastboot any more"),
    ({"ends": (OUT,)}, HostError, "it has no two bulk endpoints"),
    ({"ends": (IN, IN + 1)}, HostError, "it has no two bulk endpoints"),
])
def test_device_that_cannot_be_opened_is_told_why(values: dict[str, object], kind: type[HostError], why: str) -> None:
    usb = UsbBoard(board=FastbootBoard(disk=bytearray(MIB)), **values)  # type: ignore[arg-type]
    with pytest.raises(kind, match=why):
        open_usb(FOUND, backend=FakeBackend(usb))


def test_device_that_was_pulled_meanwhile_is_gone() -> None:
    usb = UsbBoard(board=FastbootBoard(disk=bytearray(MIB)))
    with pytest.raises(HostError, match="it is gone"):
        open_usb(replace(FOUND, address=ADDRESS + 1), backend=FakeBackend(usb))
