"""A line to a boot loader that speaks fastboot over USB, by pyusb.

Decides which device is meant, how it is opened, and what is said when it breaks; what is spoken is its user's. pyusb is
wanted only here, and only when a device is opened: it is the extra `usb`.

Source: AOSP platform/system/core fastboot/README.md ("Basic Requirements": two bulk endpoints, zero-length packets are
ignored).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from typing import Any

from imagekit.boot.fastboot import MOST_ANSWER, USB_CLASS, UsbAddress
from imagekit.errors import HostError, TargetError
from imagekit.host.files import reason
from imagekit.host.usbdevices import DeniedError, LastingError, UsbDevice

SEND_S = 60.0  # in which a part of a packet must be taken
PART = 1 << 20  # of a packet that is handed over at once; a multiple of every packet size


def find_fastboot(address: UsbAddress, devices: Iterable[UsbDevice]) -> UsbDevice:
    """The device that is meant.

    Raises:
        DeniedError: it is there, and may not be used.
        HostError: it is not there.
        TargetError: several are there, and none is named.
    """
    found = [item for item in devices if USB_CLASS in item.interfaces
             and address.serial in ("", item.serial) and address.port in ("", item.port)]
    if not found:
        raise HostError(f"cannot find fastboot at {address}: no such USB device is plugged in",
                        hint="at the board's prompt: fastboot usb 0; its USB device port is the one that counts")
    if len(found) > 1:
        raise TargetError(f"cannot tell which board is meant: {len(found)} speak fastboot",
                          details=tuple(str(item) for item in found), hint=f"name one: usb:{found[0].port}")
    if not found[0].permitted:
        raise DeniedError(found[0])
    return found[0]


class UsbLink:
    """`PacketLink` over two bulk endpoints of pyusb. Open it by `open_usb`."""

    def __init__(self, device: Any, interface: int, out: Any, into: Any, *, name: str) -> None:
        self._device, self._interface, self._out, self._into = device, interface, out, into
        self.name = name

    def send(self, content: bytes | memoryview) -> None:
        view, done = memoryview(content), 0
        while done < len(view):
            try:
                count = int(self._out.write(bytes(view[done:done + PART]), timeout=int(SEND_S * 1000)))
            except OSError as error:
                raise self._broken(error, f"nothing was taken for {SEND_S:.0f} s") from error
            if count <= 0:
                raise TargetError(f"cannot send to {self.name}: it takes nothing")
            done += count

    def receive(self, timeout_s: float) -> bytes:
        try:
            while not (got := bytes(self._into.read(MOST_ANSWER, timeout=max(int(timeout_s * 1000), 1)))):
                pass  # a packet of no length means nothing
        except OSError as error:
            raise self._broken(error, "it does not answer") from error
        return got

    def close(self) -> None:
        from usb import util

        with contextlib.suppress(OSError):
            util.release_interface(self._device, self._interface)
        util.dispose_resources(self._device)

    def _broken(self, error: OSError, silent: str) -> TargetError:
        if error.errno == errno.ETIMEDOUT:
            return TargetError(f"cannot talk to {self.name}: {silent}",
                               hint="is it still in fastboot mode? reset it, and start fastboot there again")
        return TargetError(f"cannot talk to {self.name}: the connection is gone: {reason(error)}",
                           hint="was the board reset, or the cable pulled?")


def open_usb(found: UsbDevice, *, backend: Any = None) -> UsbLink:
    """Open a device that `find_fastboot` has found.

    Raises:
        LastingError: pyusb or libusb is not installed, or (`DeniedError`) you may not.
        HostError: the device is used by another program or gone.
    """
    try:
        from usb import core, util
    except ImportError as error:
        raise LastingError("cannot use USB: pyusb is not installed", hint="pip install 'imagekit[usb]'") from error
    try:
        device = core.find(backend=backend, custom_match=lambda item: (item.bus, item.address) == (
            found.bus, found.address))
        if device is None:
            raise HostError(f"cannot use {found}: it is gone")
        for interface in device.get_active_configuration():
            if (interface.bInterfaceClass, interface.bInterfaceSubClass, interface.bInterfaceProtocol) == USB_CLASS:
                break
        else:
            raise HostError(f"cannot use {found}: it has no interface for fastboot any more")
        ends = {util.endpoint_direction(end.bEndpointAddress): end for end in interface
                if util.endpoint_type(end.bmAttributes) == util.ENDPOINT_TYPE_BULK}
        if len(ends) < 2:
            raise HostError(f"cannot use {found}: it has no two bulk endpoints")
        util.claim_interface(device, interface.bInterfaceNumber)
    except core.NoBackendError as error:
        raise LastingError("cannot use USB: libusb is not installed",
                           hint="as root: apt-get install libusb-1.0-0") from error
    except core.USBError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise DeniedError(found) from error
        why = "another program has it" if error.errno == errno.EBUSY else reason(error)
        raise HostError(f"cannot open {found}: {why}") from error
    return UsbLink(device, interface.bInterfaceNumber, ends[util.ENDPOINT_OUT], ends[util.ENDPOINT_IN],
                   name=f"usb:{found.port}")
