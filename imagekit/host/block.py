"""A block device or plain file, held open: direct reads and writes, its identity, its locks.

Decides how a medium is taken: O_EXCL, which the kernel refuses while anything is mounted, swapped to or mapped; then
the BSD lock that udev respects (systemd's "Locking Block Device Access"), and for which a device's owner waits, as udev
takes it for a moment after every event; of a file the lock too by which QEMU holds the disks of running machines; and
never by name again. A reader keeps its node and its descriptors when another card is put in: before each call the
kernel is asked for size and disk sequence, and what was put in later is neither written nor read (ESTALE). Writes
bypass the page cache (O_DIRECT) where the medium can, so that what was written is on its way and what is read comes
from the medium.

Source: Linux include/uapi/linux/fs.h for the ioctls.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imagekit.errors import HostError
from imagekit.host.files import reason
from imagekit.plan.flash_device import Code, Device, Identity, Kind, Refusal, RefusedError
from imagekit.units import BLOCK

BLKROGET, BLKSSZGET, BLKFLSBUF = 0x125E, 0x1268, 0x1261
BLKGETSIZE64 = 0x80001272 | struct.calcsize("N") << 16  # its number has the size of a size_t, its answer 64 bits
BLKGETDISKSEQ = 0x80081280

LOCK_WAIT_S = 5.0  # udev reads a disk's signatures under its lock, and that of a slow card takes a second or two
LOCK_STEP_S = 0.05

_FLOCK = struct.Struct("@hhqqi4x")  # type, whence, start, length (0: to the end), process

Facts = Callable[[int], Identity]  # of the device with this number, from sysfs: serial, backing

_REFUSED = {
    errno.EBUSY: (Code.IN_USE, "a mount, swap, a mapping or another program holds it", "let go of it first"),
    errno.EACCES: (Code.PERMISSION, "you may not write to it", "as root, or as a member of group disk"),
    errno.EPERM: (Code.PERMISSION, "the system does not let you write to it", "as root, outside of a container"),
    errno.EROFS: (Code.READ_ONLY, "it is write-protected", "move the card's write-protect switch"),
    errno.ENOMEDIUM: (Code.TOO_SMALL, "there is no medium in it", "put a card in"),
}


class HeldTarget:
    """`BlockTarget` on a descriptor. `facts` tell what sysfs says of a device number."""

    def __init__(self, descriptor: int, device: Device, *, facts: Facts, afterwards: Callable[[], None]) -> None:
        self._descriptor, self._afterwards = descriptor, afterwards
        self._facts = facts
        self._abandoned = False
        self._odd_end = threading.Lock()
        self._file = device.kind is Kind.FILE
        self._direct = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        self.sector = BLOCK if self._file else _number(descriptor, BLKSSZGET, "i")
        self._opened = self._insertion()

    def identity(self) -> Identity:
        found = os.fstat(self._descriptor)
        if self._file:
            return file_identity(found)
        sysfs = self._facts(found.st_rdev)
        size, diskseq = self._insertion()
        return Identity(size=size, serial=sysfs.serial, diskseq=diskseq, backing=sysfs.backing)

    def _insertion(self) -> tuple[int, int]:
        """Size and disk sequence of the medium that is there now; nothing of a file, which stays what it is."""
        if self._file:
            return 0, 0
        diskseq = 0
        with contextlib.suppress(OSError):  # before Linux 5.15
            diskseq = _number(self._descriptor, BLKGETDISKSEQ, "Q")
        return _number(self._descriptor, BLKGETSIZE64, "Q"), diskseq

    def _hold_to_it(self) -> None:
        """Raises: OSError: another medium is there than when it was opened."""
        if self._insertion() != self._opened:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    @contextlib.contextmanager
    def _buffered(self) -> Iterator[None]:
        """For the odd end of an image: the same descriptor without O_DIRECT.

        By one thread at a time: of two, one would end the other's, or find no O_DIRECT and leave it so for good. An
        even piece of another thread may go through the page cache meanwhile: it is flushed, or forgotten, all the same.
        """
        with self._odd_end:
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
            try:
                yield
            finally:
                fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags)

    def _odd(self, offset: int, length: int) -> bool:
        return self._direct and bool(offset % self.sector or length % self.sector)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self._hold_to_it()
        if self._odd(offset, len(buffer)):
            with self._buffered():
                return os.preadv(self._descriptor, [buffer], offset)
        return os.preadv(self._descriptor, [buffer], offset)

    def write(self, offset: int, content: memoryview) -> int:
        self._hold_to_it()
        if self._odd(offset, len(content)):
            with self._buffered():
                return os.pwrite(self._descriptor, content, offset)
        return os.pwrite(self._descriptor, content, offset)

    def flush(self) -> None:
        os.fsync(self._descriptor)
        self._hold_to_it()  # it has arrived on this one then

    def forget(self) -> None:
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if not self._file:
            with contextlib.suppress(OSError):  # needs root; direct reads do not depend on it
                fcntl.ioctl(self._descriptor, BLKFLSBUF)

    def is_there(self) -> bool:
        found = os.fstat(self._descriptor)
        if self._file:
            return found.st_nlink > 0
        try:
            return _number(self._descriptor, BLKGETSIZE64, "Q") > 0
        except OSError:
            return False

    def resize(self, size: int) -> None:
        if self._file:
            os.ftruncate(self._descriptor, size)

    def abandon(self) -> None:
        self._abandoned = True

    def close(self) -> None:
        """Not of what was abandoned: its number would soon be another file's, and a late call write there."""
        if not self._abandoned:
            os.close(self._descriptor)
        self._afterwards()


def file_identity(found: os.stat_result) -> Identity:
    """What a plain file is: its place on its disk."""
    return Identity(size=found.st_size, backing=f"{found.st_dev}:{found.st_ino}")


def _number(descriptor: int, request: int, form: str) -> int:
    return int(struct.unpack(form, fcntl.ioctl(descriptor, request, bytes(struct.calcsize(form))))[0])


def hold(device: Device, *, writable: bool, facts: Facts,
         afterwards: Callable[[], None] = lambda: None) -> HeldTarget:
    """Open a device for this process alone; a file that does not exist yet is made. `afterwards`: when it is let go.

    Raises:
        RefusedError: it is in use, write-protected, not permitted.
        HostError: it is gone, or has become something else.
    """
    path = Path(device.path)
    flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
    if device.kind is not Kind.FILE:
        flags |= os.O_EXCL if writable else 0
    elif not device.exists:
        flags |= os.O_CREAT | os.O_EXCL
    descriptor = _open(path, flags)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) != (device.kind is Kind.FILE):
            raise HostError(f"cannot write {path}: it has become something else than a {device.kind.value}")
        _lock(path, descriptor, fcntl.LOCK_EX if writable else fcntl.LOCK_SH,
              wait=0 if device.kind is Kind.FILE else LOCK_WAIT_S)
        if writable and device.kind is Kind.FILE:
            _lock_bytes(path, descriptor)
        return HeldTarget(descriptor, device, facts=facts, afterwards=afterwards)
    except BaseException:
        os.close(descriptor)
        raise


def _lock(path: Path, descriptor: int, form: int, *, wait: float) -> None:
    """Take the BSD lock, for which a device's own waits so many seconds: a second station is known by O_EXCL."""
    until = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(descriptor, form | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise RefusedError(str(path), (Refusal(
                    code=Code.IN_USE, reason="another program has locked it: a second imagekit, or udev",
                    allow="wait until it has ended"),)) from error
        time.sleep(LOCK_STEP_S)


def _lock_bytes(path: Path, descriptor: int) -> None:
    """Lock every byte of a file (fcntl(2), "Open file description locks"), where its file system has such locks."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise RefusedError(str(path), (Refusal(
                code=Code.IN_USE, reason="another program has locked bytes of it: a virtual machine that runs from it",
                allow="end that machine first"),)) from error


def _open(path: Path, flags: int) -> int:
    """Direct where the medium can; that a file system cannot is only found by trying."""
    for more in (os.O_DIRECT, 0):
        try:
            return os.open(path, flags | more, 0o644)
        except OSError as error:
            if error.errno == errno.EINVAL and more:
                flags &= ~os.O_EXCL if flags & os.O_CREAT else ~0  # some make the file, then refuse
                continue
            if error.errno in _REFUSED and (flags & os.O_RDWR or error.errno != errno.EBUSY):
                code, why, allow = _REFUSED[error.errno]
                raise RefusedError(str(path), (Refusal(code=code, reason=why, allow=allow),)) from error
            if error.errno in (errno.ENXIO, errno.ENODEV, errno.ENOENT):
                raise HostError(f"cannot open {path}: there is no medium: it was pulled out") from error
            raise HostError(f"cannot open {path}: {reason(error)}") from error
    raise AssertionError
