"""A unit of the OEM's that boot-complete.target requires gates the boot: by systemd itself, in a base on trial."""

from __future__ import annotations

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.qemu.pytest_plugin import MakeDevice
from tests.boot.matrix import ENDURE_S
from tests.boot.stock import Stock

pytestmark = pytest.mark.boot

UNITS = "usr/lib/systemd/system"
TARGET = f"{UNITS}/boot-complete.target.d"
OPTIONAL = "usr/lib/imagekit/optional-units"


def required(**commands: str) -> dict[str, bytes]:
    """A base's files: checks of boot-complete.target that run these commands; no other judge minds if they fail."""
    units = {f"acme-{name}.service": command for name, command in commands.items()}
    return {
        **{f"{UNITS}/{unit}": ("[Unit]\nDescription=Acme\nBefore=boot-complete.target\n"
                               f"[Service]\nType=oneshot\nExecStart={command}\n").encode()
           for unit, command in units.items()},
        f"{TARGET}/50-acme.conf": f"[Unit]\nRequires={' '.join(units)}\n".encode(),
        OPTIONAL: b"acme-*.service\nimagekit-*.service\nsystemd-*.service\n",
    }


def test_units_that_keep_the_boot_from_being_complete_roll_it_back(stock: Stock, make_device: MakeDevice) -> None:
    """One fails, one hangs."""
    short = {f"{TARGET}/60-short.conf": b"[Unit]\nJobTimeoutSec=90s\n"}  # for the one that hangs: 7 minutes a boot
    device = make_device(stock.image, deadline_s=2 * ENDURE_S)
    with device.disk() as disk:
        disk.install(Slot.B, base=stock.variant(stock.base, "incomplete", short | required(
            fails="/bin/false", hangs="/bin/sleep infinity")), kernel=stock.kernel, tries=1)
    device.power_on()
    said = device.expect(r"imagekit: slot b is NOT healthy; boot-complete: (.*)$", timeout_s=ENDURE_S)
    assert set(said[1].split("; ")) == {"acme-fails.service has failed", "acme-hangs.service has not come to an end"}
    device.wait_healthy(slot="a")


def test_unit_that_lets_the_boot_be_complete_is_waited_for(stock: Stock, make_device: MakeDevice) -> None:
    """It ends well, and later than all else: the verdict comes after it."""
    device = make_device(stock.image, deadline_s=ENDURE_S)
    with device.disk() as disk:
        disk.install(Slot.B, base=stock.variant(stock.base, "late", required(
            check="/bin/sh -c 'sleep 30; echo acme is well > /dev/console'")), kernel=stock.kernel)
    device.power_on()
    device.expect(r"imagekit: slot b is healthy", timeout_s=ENDURE_S)
    said = [line.text for line in device.transcript.lines]
    assert next(n for n, text in enumerate(said) if "acme is well" in text) < next(
        n for n, text in enumerate(said) if "imagekit: phase health" in text)
