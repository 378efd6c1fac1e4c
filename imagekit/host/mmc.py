"""Ask an eMMC for its registers, as `mmc extcsd read` of mmc-utils does. Nothing is changed.

Source: Linux include/uapi/linux/mmc/ioctl.h, and include/linux/mmc/core.h for the flags of a command; JEDEC JESD84-B51,
6.10.4: CMD8 is SEND_EXT_CSD, answered by a block of 512 bytes. To an SD card it means something else.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path

from imagekit.disk.ext_csd import EXT_CSD_SIZE

MMC_IOC_CMD = 0xC048B300
SEND_EXT_CSD = 8

# write_flag, is_acmd; opcode, arg, response[4], flags, blksz, blocks, four times, padding; data_ptr
_COMMAND = struct.Struct("=2i14IQ")
_PRESENT, _CRC, _ADDRESSED_DATA, _OPCODE, _SPI_STATUS = 1 << 0, 1 << 2, 1 << 5, 1 << 4, 1 << 7
_READS = _PRESENT | _CRC | _OPCODE | _SPI_STATUS | _ADDRESSED_DATA  # the response R1, then data


def read_ext_csd(disk: Path) -> bytes:
    """The 512 bytes of EXT_CSD; `disk` is the whole eMMC, which may be in use.

    Raises:
        OSError: only root may ask (CAP_SYS_RAWIO), it is none, it is gone, or it does not answer.
    """
    answer = (ctypes.c_char * EXT_CSD_SIZE)()
    command = _COMMAND.pack(0, 0, SEND_EXT_CSD, 0, *[0] * 4, _READS, EXT_CSD_SIZE, 1, *[0] * 5,
                            ctypes.addressof(answer))
    descriptor = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, MMC_IOC_CMD, command)
    finally:
        os.close(descriptor)
    return answer.raw
