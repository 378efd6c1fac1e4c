"""Make an eMMC boot from one of its boot partitions: a setting in the chip that `mmc` of mmc-utils writes."""

from __future__ import annotations

import re

from imagekit.errors import UsageError
from imagekit.host.ports import Tools
from imagekit.plan.flash_device import Device, Kind

_NAME = re.compile(r"(/dev/mmcblk\d+)boot(\d+)")


def boot_from(tools: Tools, device: Device) -> None:
    """Choose this boot partition, with the acknowledgement that most boot ROMs wait for.

    Raises:
        UsageError: it is no boot partition of an eMMC.
        HostError: `mmc` is missing or fails.
    """
    found = _NAME.fullmatch(device.path)
    if device.kind is not Kind.EMMC_BOOT or found is None:
        raise UsageError(f"cannot make anything boot from {device.path}: it is no boot partition of an eMMC")
    tools.run("mmc", "bootpart", "enable", str(int(found[2]) + 1), "1", found[1])
