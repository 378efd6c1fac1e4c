"""The register in which an eMMC says which of its areas it boots from.

Decides what the setting means; how the register is read is `imagekit.host.mmc`'s business, and it is set by `mmc` of
mmc-utils (`imagekit.flash.emmc`).

Source: JEDEC JESD84-B51, 7.4.69: byte 179 of the 512 bytes of EXT_CSD is PARTITION_CONFIG:

    PARTITION_CONFIG = 0:1 BOOT_ACK:1 BOOT_PARTITION_ENABLE:3 PARTITION_ACCESS:3, from the highest bit to the lowest
"""

from __future__ import annotations

from enum import StrEnum

EXT_CSD_SIZE = 512
PARTITION_CONFIG = 179


class BootArea(StrEnum):
    """What the boot ROM of a board is given; the words are those of the kernel's names for the partitions."""

    NONE = "none"
    BOOT0 = "boot0"
    BOOT1 = "boot1"
    USER = "user"


_ENABLED = {0: BootArea.NONE, 1: BootArea.BOOT0, 2: BootArea.BOOT1, 7: BootArea.USER}


def boot_area(ext_csd: bytes) -> BootArea | None:
    """What the eMMC is set to boot from; None where that is a reserved value, or these are not all of the bytes."""
    return _ENABLED.get(ext_csd[PARTITION_CONFIG] >> 3 & 7) if len(ext_csd) == EXT_CSD_SIZE else None
