"""Loop devices of a test's own: got from the kernel, never by a name, and always given back.

A node may be taken by somebody else between the moment it is free and the moment it is set up; then the next one is
asked for. Before it is let go it is looked at again: what is not ours any more is left alone.

Source: Linux include/uapi/linux/loop.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CONTROL = Path("/dev/loop-control")
LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LOOP_CLR_FD, LOOP_GET_STATUS64 = 0x4C82, 0x4C0A, 0x4C01, 0x4C05
LOOP_CHANGE_FD, LOOP_SET_CAPACITY = 0x4C06, 0x4C07
_CONFIG = struct.Struct("<II232s8Q")  # fd, block_size, loop_info64, reserved
_FLAGS_AT, _PARTSCAN = 52, 8  # lo_flags of loop_info64; LO_FLAGS_PARTSCAN
_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop device that was set up here."""

    path: Path
    number: int
    backing: Path

    @property
    def diskseq(self) -> str:
        return Path(f"/sys/block/loop{self.number}/diskseq").read_text().strip()

    def is_ours(self) -> bool:
        with contextlib.suppress(OSError):
            found = Path(f"/sys/block/loop{self.number}/loop/backing_file").read_text().strip()
            return found == str(self.backing.resolve())
        return False


def need_loops() -> None:
    """Loop devices need root: skip at home; as root in CI they must be there."""
    if os.geteuid() or not CONTROL.exists():
        if os.environ.get("CI") and not os.geteuid():
            pytest.fail("there are no loop devices")
        pytest.skip("loop devices need root")


def attach(backing: Path, *, number: int | None = None, sector: int = 512, writable: bool = True,
           partitions: bool = False) -> Loop:
    """Set up a loop device; `number` asks for this one, which must be free. `partitions`: it may have some."""
    info = bytearray(232)
    struct.pack_into("<I", info, _FLAGS_AT, _PARTSCAN if partitions else 0)
    mode = os.O_RDWR if writable else os.O_RDONLY  # what the kernel makes of a file that cannot be written: `ro`
    for _ in range(_TRIES):
        with CONTROL.open("rb") as control:
            free = fcntl.ioctl(control.fileno(), LOOP_CTL_GET_FREE) if number is None else number
        path = Path(f"/dev/loop{free}")
        node, file = os.open(path, os.O_RDWR | os.O_CLOEXEC), os.open(backing, mode | os.O_CLOEXEC)
        try:
            fcntl.ioctl(node, LOOP_CONFIGURE, _CONFIG.pack(file, sector, bytes(info), *([0] * 8)))
            return Loop(path=path, number=free, backing=backing)
        except OSError as error:
            if error.errno != errno.EBUSY or number is not None:
                raise
            time.sleep(0.01)
        finally:
            os.close(node)
            os.close(file)
    raise RuntimeError("no loop device is free")


def changed(loop: Loop, backing: Path) -> Loop:
    """Put another file of the same size into a read-only loop device that is held open, as a card into a reader."""
    node, file = os.open(loop.path, os.O_RDONLY | os.O_CLOEXEC), os.open(backing, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(node, LOOP_CHANGE_FD, file)
        return Loop(path=loop.path, number=loop.number, backing=backing)
    finally:
        os.close(node)
        os.close(file)


def grown(loop: Loop, size: int) -> None:
    """Give a loop device that is held open another size."""
    os.truncate(loop.backing, size)
    node = os.open(loop.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(node, LOOP_SET_CAPACITY)
    finally:
        os.close(node)


def detach(loop: Loop) -> None:
    """Let go of it, if it is still the one that was set up."""
    if not loop.is_ours():
        return
    node = os.open(loop.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(node, LOOP_CLR_FD)
    finally:
        os.close(node)
    deadline = time.monotonic() + 5
    while loop.is_ours() and time.monotonic() < deadline:
        time.sleep(0.01)


@contextlib.contextmanager
def looped(backing: Path, *, size: int | None = None, sector: int = 512, writable: bool = True,
           partitions: bool = False) -> Iterator[Loop]:
    """A loop device over `backing`, which is made or resized if `size` is given."""
    if size is not None:
        with backing.open("ab") as stream:
            stream.truncate(size)
    loop = attach(backing, sector=sector, writable=writable, partitions=partitions)
    try:
        yield loop
    finally:
        detach(loop)
