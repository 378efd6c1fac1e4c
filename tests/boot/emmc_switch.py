"""Make the eMMC of a guest boot from boot1: CMD6, as `mmc bootpart enable 2 1 /dev/mmcblk0` sends it.

Source: Linux include/uapi/linux/mmc/ioctl.h; JEDEC JESD84-B51, 6.6.1 for the argument of SWITCH.
"""

from __future__ import annotations

import fcntl
import struct
from pathlib import Path

WRITE_BYTE, PARTITION_CONFIG, BOOT1_ACKNOWLEDGED = 3, 179, 0x50
R1B_WITHOUT_DATA = 0x49D

with Path("/dev/mmcblk0").open("rb") as chip:
    argument = WRITE_BYTE << 24 | PARTITION_CONFIG << 16 | BOOT1_ACKNOWLEDGED << 8 | 1
    fcntl.ioctl(chip, 0xC048B300, struct.pack("=2i14IQ", 1, 0, 6, argument, *[0] * 4, R1B_WITHOUT_DATA, *[0] * 7, 0))
