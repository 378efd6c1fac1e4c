"""Everything on a device that an update writes: partitions, the slot-state record, files on the ESP.

Decides how a write reaches the medium, and nothing of what is written or when: that is `imagekit.device.install_steps`.
Each call is one thing that a power cut may fall into; nothing is on the medium before its `flush` or `sync`. Reading
back goes past the page cache, so that what is compared has been on the medium. The ESP is writable only within
`writable_esp`. Source of the rules: docs/reference/updates.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from imagekit.boot.slotstate import SlotState
from imagekit.device.autoboot import overwrite
from imagekit.device.machine import Programs
from imagekit.device.state import StatePartition
from imagekit.errors import TargetError

FLUSH_EVERY = 32 << 20  # so much may lie in memory, unwritten
ESP = "esp"  # the partition that is mounted at `esp`
MOUNT_OPTIONS = "nosuid,nodev,noexec,umask=0077,codepage=437,iocharset=ascii"  # as the initrd mounts it


class Medium(Protocol):
    """What an update writes to. Partitions by name; paths are on the ESP. Every call may raise a TargetError."""

    def write(self, partition: str, offset: int, data: bytes) -> None: ...

    def flush(self, partition: str) -> None:
        """All that was written to the partition is on the medium."""

    def read_back(self, partition: str) -> AbstractContextManager[BinaryIO]:
        """The partition as the medium has it."""

    def store(self, state: SlotState) -> None:
        """Write the record; it is on the medium when this returns."""

    def writable_esp(self) -> AbstractContextManager[None]: ...

    def unmounted(self, partition: str) -> AbstractContextManager[None]:
        """The partition may be written as it lies meanwhile, also where it is the ESP, which is mounted."""

    def names(self, folder: str) -> tuple[str, ...]:
        """What lies in a folder of the ESP; nothing where there is none."""

    def create(self, path: str, content: Iterable[bytes]) -> None:
        """Make a file, with the folders above it; whatever has that name is replaced."""

    def overwrite(self, path: str, content: bytes) -> None:
        """Write a file of one sector in place; it is on the medium when this returns."""

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def sync_file(self, path: str) -> None: ...

    def sync_folder(self, path: str) -> None: ...

    def open_file(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file of the ESP as the medium has it."""


class DiskMedium:
    """The device's own disk. Use as a context: a partition stays open from its first write to the end.

    `esp` is where that is mounted read-only, or the boot partition with autoboot.txt; without `programs` it is writable
    anyway.
    """

    def __init__(self, *, partitions: Mapping[str, Path], record: StatePartition, esp: Path,
                 programs: Programs | None) -> None:
        self._partitions = partitions
        self._record = record
        self._esp = esp
        self._programs = programs
        self._mode = "ro"
        self._handles: dict[str, int] = {}  # a block device that is closed is probed anew by udev, each time

    def __enter__(self) -> DiskMedium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for partition in list(self._handles):
            self._close(partition)

    def _handle(self, partition: str) -> int:
        if partition not in self._handles:
            own = os.O_EXCL if partition == ESP else 0  # of a block device: refused while it is mounted anywhere
            self._handles[partition] = os.open(self._partitions[partition], os.O_WRONLY | os.O_CLOEXEC | own)
        return self._handles[partition]

    def write(self, partition: str, offset: int, data: bytes) -> None:
        with _told(f"write {partition}"):
            handle, start = self._handle(partition), offset
            view = memoryview(data)
            while view:
                done = os.pwrite(handle, view, offset)
                view, offset = view[done:], offset + done
            if offset // FLUSH_EVERY != start // FLUSH_EVERY:
                os.fdatasync(handle)

    def flush(self, partition: str) -> None:
        with _told(f"flush {partition}"):
            os.fsync(self._handle(partition))

    @contextmanager
    def read_back(self, partition: str) -> Iterator[BinaryIO]:
        with _told(f"read {partition}"), self._partitions[partition].open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            yield stream

    def store(self, state: SlotState) -> None:
        self._record.store(state)

    @contextmanager
    def writable_esp(self) -> Iterator[None]:
        self._remount("rw")
        try:
            yield
        finally:
            with suppress(TargetError):  # still mounted writable: untidy, but nothing is lost by it
                self._remount("ro")

    def _remount(self, mode: str) -> None:
        if self._programs is not None:
            self._programs.run("mount", "-o", f"remount,{mode}", str(self._esp))
            self._mode = mode

    @contextmanager
    def unmounted(self, partition: str) -> Iterator[None]:
        if partition != ESP or self._programs is None:
            yield
            return
        self._programs.run("umount", str(self._esp))
        try:
            yield
        finally:
            self._close(partition)
            self._programs.run("mount", "-t", "vfat", "-o", f"{self._mode},{MOUNT_OPTIONS}",
                               str(self._partitions[partition]), str(self._esp))

    def _close(self, partition: str) -> None:
        handle = self._handles.pop(partition, None)
        if handle is not None:
            os.close(handle)

    def names(self, folder: str) -> tuple[str, ...]:
        with _told(f"read {folder}"), suppress(FileNotFoundError):
            return tuple(sorted(os.listdir(self._esp / folder)))  # noqa: PTH208  names are wanted
        return ()

    def create(self, path: str, content: Iterable[bytes]) -> None:
        with _told(f"write {path}"):
            target = self._esp / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb", buffering=0) as out:
                for chunk in content:
                    view = memoryview(chunk)
                    while view:
                        view = view[out.write(view) or 0:]

    def overwrite(self, path: str, content: bytes) -> None:
        with _told(f"write {path}"):
            overwrite(self._esp / path, content)

    def rename(self, old: str, new: str) -> None:
        with _told(f"rename {old}"):
            (self._esp / old).rename(self._esp / new)

    def remove(self, path: str) -> None:
        with _told(f"remove {path}"):
            (self._esp / path).unlink(missing_ok=True)

    def sync_file(self, path: str) -> None:
        self._sync(path)

    def sync_folder(self, path: str) -> None:
        self._sync(path)

    def _sync(self, path: str) -> None:
        with _told(f"flush {path}"), _opened(self._esp / path, os.O_RDONLY) as handle:
            os.fsync(handle)

    @contextmanager
    def open_file(self, path: str) -> Iterator[BinaryIO]:
        try:
            with _told(f"read {path}"), (self._esp / path).open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                yield stream
        except TargetError:
            if self._programs is not None and self._mode == "rw":  # at a broken chain vfat stops to be writable
                self._remount("rw")
            raise


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raises: TargetError: instead of an OSError, which is a full disk or a broken one."""
    try:
        yield
    except OSError as error:
        raise TargetError(f"cannot {what}: {error.strerror or error}",
                          hint="the running slot is untouched; see imagekit-device status") from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
