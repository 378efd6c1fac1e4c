"""systemd's own tools, run inside the guest, agree with what we wrote: boot loader, entries, counters, units."""

from __future__ import annotations

import json

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.qemu.pytest_plugin import MakeDevice
from tests.boot.stock import Stock

pytestmark = pytest.mark.boot

# A health check of the base on trial. It may only talk; /dev/console is the transcript.
ASK = b"""#!/bin/sh
mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null
{
    bootctl --no-pager --esp-path=/efi status
    echo "entries $(bootctl --no-pager --esp-path=/efi list --json=short)"
    systemd-analyze --no-pager --man=no verify multi-user.target && echo "units verified"
} 2>&1 | sed 's/^/asked: /' > /dev/console
"""


def test_systemds_tools_in_the_guest_agree(stock: Stock, make_device: MakeDevice) -> None:
    device = make_device(stock.image)
    with device.disk() as disk:
        asking = stock.variant(stock.base, "asking", {"usr/lib/imagekit/health.d/50-ask": ASK})
        disk.install(Slot.B, base=asking, kernel=stock.kernel)
    device.power_on()
    device.expect(r"asked: .*Product: systemd-boot 257", timeout_s=120)
    device.expect(r"asked: Current Entry: imagekit-b\.conf")
    device.expect(r"asked: .*tries: 2 left; 1 done")
    listed = json.loads(device.expect(r"asked: entries (\[.*\])").group(1))
    ours = [entry for entry in listed if entry["id"].startswith("imagekit-")]
    assert [entry["path"] for entry in ours] == [
        "/efi/loader/entries/imagekit-b+2-1.conf", "/efi/loader/entries/imagekit-a.conf"]
    assert [entry["version"] for entry in ours] == ["0000000002", "0000000001"]
    assert [entry["efi"] for entry in ours] == ["/EFI/imagekit/b/kernel.efi", "/EFI/imagekit/a/kernel.efi"]
    assert [entry["isSelected"] for entry in ours] == [True, False]
    device.expect(r"asked: units verified")
