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


def acme(command: str) -> dict[str, bytes]:
    """A base's files: a check of boot-complete.target that runs `command`, and may fail for all that `units` says."""
    return {
        f"{UNITS}/acme-check.service": (
            "[Unit]\nDescription=Acme\nBefore=boot-complete.target\n"
            f"[Service]\nType=oneshot\nExecStart={command}\n").encode(),
        f"{TARGET}/50-acme.conf": b"[Unit]\nRequires=acme-check.service\n",
        OPTIONAL: b"acme-check.service\nimagekit-*.service\nsystemd-*.service\n",
    }


@pytest.mark.parametrize(("command", "reason"), [("/bin/false", "has failed"),
                                                 ("/bin/sleep infinity", "has not come to an end")],
                         ids=["fails", "hangs"])
def test_unit_that_keeps_the_boot_from_being_complete_rolls_it_back(
    stock: Stock, make_device: MakeDevice, command: str, reason: str
) -> None:
    short = {f"{TARGET}/60-short.conf": b"[Unit]\nJobTimeoutSec=90s\n"}  # for the one that hangs: 7 minutes a boot
    device = make_device(stock.image, deadline_s=2 * ENDURE_S)
    with device.disk() as disk:
        disk.install(Slot.B, base=stock.variant(stock.base, reason.split()[-1], acme(command) | short),
                     kernel=stock.kernel)
    device.power_on()
    device.expect(rf"imagekit: slot b is NOT healthy; boot-complete: acme-check\.service {reason}$", timeout_s=ENDURE_S)
    device.expect(r"imagekit: rebooting: the other slot has once been healthy")
    device.wait_healthy(slot="a")


def test_unit_that_lets_the_boot_be_complete_is_waited_for(stock: Stock, make_device: MakeDevice) -> None:
    """It ends well, and later than all else: the verdict comes after it."""
    device = make_device(stock.image, deadline_s=ENDURE_S)
    with device.disk() as disk:
        disk.install(Slot.B, base=stock.variant(stock.base, "late", acme(
            "/bin/sh -c 'sleep 30; echo acme is well > /dev/console'")), kernel=stock.kernel)
    device.power_on()
    device.expect(r"imagekit: slot b is healthy", timeout_s=ENDURE_S)
    said = [line.text for line in device.transcript.lines]
    assert next(n for n, text in enumerate(said) if "acme is well" in text) < next(
        n for n, text in enumerate(said) if "imagekit: phase health" in text)
