"""What device-mapper says is mounted, and a read of all of it.

The live table is asked for by ioctl (Linux `include/uapi/linux/dm-ioctl.h`, interface 4.0.0, DM_TABLE_STATUS), by the
device number of the mounted file system: neither the kernel command line nor a name in /dev has a say. Reading a
verity device from end to end makes the kernel check every block; with `restart_on_corruption` a wrong one is a reboot
at once, so a scrub that returns has found none.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import TargetError

CONTROL = Path("/dev/mapper/control")

_HEAD = struct.Struct("=3I3IiIIIQ128s129s7x")
_SPEC = struct.Struct("=QQiI16s")
_TABLE_STATUS = 0xC138FD0C  # _IOWR(0xfd, 12, struct dm_ioctl)
_WANT_TABLE = 1 << 4
_BUFFER = 4096
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VerityDevice:
    """A mounted verity device as its live table describes it; `size` in bytes, `root` in hex."""

    path: Path
    size: int
    root: str
    restarts: bool


def mounted_verity(mount_point: Path, *, control: Path = CONTROL) -> VerityDevice:
    """The verity device under a mount point.

    Raises:
        TargetError: what is mounted there is not one verity target.
    """
    try:
        device = mount_point.stat().st_dev
        length, kind, table = _table(device, control)
    except OSError as error:
        raise TargetError(f"cannot read the table below {mount_point}: {error.strerror}") from error
    except (struct.error, ValueError) as error:
        raise TargetError(f"cannot read the table below {mount_point}: {error}") from error
    words = table.split()
    if kind != "verity" or len(words) < 10:
        raise TargetError(f"cannot trust {mount_point}: a {kind or 'nameless'} target lies below, not verity")
    return VerityDevice(
        path=Path(f"/dev/dm-{os.minor(device)}"), size=length * 512, root=words[8],
        restarts="restart_on_corruption" in words[10:],
    )


def _table(device: int, control: Path) -> tuple[int, str, str]:
    """Length in sectors, type and parameters of the device's only target."""
    major, minor = os.major(device), os.minor(device)
    number = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
    buffer = bytearray(_BUFFER)
    _HEAD.pack_into(buffer, 0, 4, 0, 0, _BUFFER, _HEAD.size, 0, 0, _WANT_TABLE, 0, 0, number, b"", b"")
    handle = os.open(control, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, _TABLE_STATUS, buffer)
    finally:
        os.close(handle)
    return parse_status(bytes(buffer))


def parse_status(buffer: bytes) -> tuple[int, str, str]:
    """Read the answer of DM_TABLE_STATUS. Raises: ValueError, struct.error: it does not describe one target."""
    head = _HEAD.unpack_from(buffer)
    start, count = head[4], head[5]
    if count != 1:
        raise ValueError(f"{count} targets")
    _, length, _, _, kind = _SPEC.unpack_from(buffer, start)
    text = buffer[start + _SPEC.size:].split(b"\0", 1)[0]
    return length, kind.rstrip(b"\0").decode("ascii", "replace"), text.decode("ascii", "replace")


def scrub(device: Path) -> int:
    """Read all of a device, leaving nothing of it in the page cache; the number of bytes. Raises: TargetError."""
    buffer = memoryview(bytearray(_CHUNK))
    total = 0
    try:
        handle = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while count := os.readv(handle, [buffer]):
                os.posix_fadvise(handle, total, count, os.POSIX_FADV_DONTNEED)
                total += count
        finally:
            os.close(handle)
    except OSError as error:
        raise TargetError(f"cannot read {device} at byte {total}: {error.strerror}") from error
    return total
