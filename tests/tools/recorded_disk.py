"""A disk of a test's own whose every write is logged: a file behind QEMU's blklogwrites, as a block device of Linux.

qemu-storage-daemon shows the file by FUSE, a loop device lies over that, and partitions are made of its table. So file
systems are the kernel's, programs are the device's own, and the log is in the form of a recording, without a guest.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.disk import gpt
from tests.loops import looped, need_loops
from tests.tools.conftest import require

BLKPG, ADD, DELETE, RESIZE = 0x1269, 1, 2, 3
START_S = 60.0


class _Partition(ctypes.Structure):
    """`struct blkpg_partition` of include/uapi/linux/blkpg.h."""

    _fields_ = (("start", ctypes.c_longlong), ("length", ctypes.c_longlong), ("pno", ctypes.c_int),
                ("devname", ctypes.c_char * 64), ("volname", ctypes.c_char * 64))


class _Ask(ctypes.Structure):
    """`struct blkpg_ioctl_arg`."""

    _fields_ = (("op", ctypes.c_int), ("flags", ctypes.c_int), ("datalen", ctypes.c_int), ("data", ctypes.c_void_p))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The whole disk, and its partitions by name."""

    disk: Path
    partitions: dict[str, Path]


def need_recorder() -> None:
    """FUSE, loop devices and the daemon: skip at home; as root in CI they must be there."""
    need_loops()
    require("qemu-storage-daemon")
    if not Path("/dev/fuse").exists():
        if os.environ.get("CI"):
            pytest.fail("there is no FUSE")
        pytest.skip("there is no FUSE")


@contextmanager
def recorded(image: Path, log: Path) -> Iterator[Recorded]:
    """A device whose writes change `image` and are logged; nothing of it may be mounted at the end."""
    with image.open("rb") as stream:
        table = gpt.decode(stream)
    nodes = log.with_suffix(".dev")
    shutil.rmtree(nodes, ignore_errors=True)
    nodes.mkdir()
    with _logged(image, log) as shown, looped(shown, partitions=True) as loop:
        made = [item for item in table.partitions if not _place(loop.path, item).exists()]
        try:
            for item in made:
                _tell(loop.path, ADD, item)
            yield Recorded(disk=loop.path, partitions={
                item.name: _node(_place(loop.path, item), nodes) for item in table.partitions})
        finally:
            for item in made:
                _tell(loop.path, DELETE, item)
            with loop.path.open("rb") as whole:
                os.fsync(whole.fileno())


def resize(disk: Path, partition: gpt.Partition) -> None:
    """Tell the kernel of a partition's new end, whatever the table says."""
    _tell(disk, RESIZE, partition)


def _place(disk: Path, partition: gpt.Partition) -> Path:
    return Path(f"/sys/class/block/{disk.name}p{partition.index}")


def _node(place: Path, folder: Path) -> Path:
    """A node of the test's own: there may be no udev to make one."""
    major, minor = (place / "dev").read_text().split(":")
    os.mknod(folder / place.name, 0o600 | stat.S_IFBLK, os.makedev(int(major), int(minor)))
    return folder / place.name


def _tell(disk: Path, what: int, partition: gpt.Partition) -> None:
    told = _Partition(start=partition.start, length=partition.size, pno=partition.index)
    ask = _Ask(op=what, datalen=ctypes.sizeof(told), data=ctypes.addressof(told))
    with disk.open("rb") as stream:
        fcntl.ioctl(stream.fileno(), BLKPG, bytearray(ask))


@contextmanager
def _logged(image: Path, log: Path) -> Iterator[Path]:
    """The image as a file again, what is written to it logged."""
    shown = log.with_suffix(".shown")
    shown.touch()
    log.write_bytes(b"")
    daemon = subprocess.Popen([
        "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=image,filename={image},discard=unmap",
        "--blockdev", f"driver=file,node-name=log,filename={log}",
        "--blockdev", "driver=blklogwrites,node-name=logged,file=image,log=log,log-sector-size=512,discard=unmap",
        "--export", f"type=fuse,id=disk,node-name=logged,mountpoint={shown},writable=on"])
    try:
        deadline = time.monotonic() + START_S
        while shown.stat().st_size != image.stat().st_size:
            assert daemon.poll() is None, "qemu-storage-daemon ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield shown
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
