"""The disk of an update, down to its sectors: the installer's own calls become a log of writes, as QEMU would make one.

What a program writes to a partition waits in memory until it is flushed; the record is written and flushed at once;
files go through `tests.tools.update_vfat`. What nobody flushed is written at the very end, as the kernel does when it
gets round to it. Each flush is one of the whole disk.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE, SlotState, encode_record, newest
from imagekit.disk import gpt
from imagekit.disk.fat_read import read_fat
from imagekit.disk.writelog import Kind, LogEntry, decode_log, encode_entry, encode_super
from imagekit.qemu.surgery import Disk
from imagekit.qemu.workbench import copy_sparse
from imagekit.units import SECTOR
from tests.tools.update_rig import PARTITIONS, PI, SYSTEMD_BOOT, Rig
from tests.tools.update_vfat import Vfat

PIECE = 128 << 10  # the largest request


def disk_of(rig: Rig, image: Path, target: Path) -> Path:
    """The rig's partitions and its ESP as a disk image."""
    copy_sparse(image, target)
    with Disk(target) as disk:
        for name in PARTITIONS:
            if rig.table.find(name) is not None and name != "seed":
                disk.write(name, 0, rig.device(name).read_bytes())
        if rig.loader == SYSTEMD_BOOT:
            disk.set_esp_files(rig.disk_state().esp)
        if rig.loader == PI:
            disk.set_fat_files("boot", rig.disk_state().esp, label="boot")
    return target


class LoggedDisk:
    """A `Medium` over an image that logs every sector. Call `finish` at the end."""

    def __init__(self, image: Path, now: Path) -> None:
        self.image = image
        copy_sparse(image, now)
        self._handle = os.open(now, os.O_RDWR)
        with image.open("rb") as stream:
            self._table = gpt.decode(stream)
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._log = [b""]
        self._requests = 0
        esp = self._table.find("esp") or self._table.find("boot")
        self._esp = esp.start if esp is not None else 0
        self._files = None if esp is None else Vfat(os.pread(self._handle, esp.size, esp.start), self._emit_esp)

    @property
    def log(self) -> bytes:
        """All of it, as a file of QEMU's."""
        return b"".join([encode_super(self._requests), *self._log])

    def requests(self) -> tuple[LogEntry, ...]:
        return decode_log(self.log, disk_size=self.image.stat().st_size)

    def finish(self) -> None:
        """Whatever waits, at last."""
        if self._files is not None:
            self._files.sync_all()
            os.pwrite(self._handle, self._files.cache, self._esp)
        for name in list(self._waiting):
            self._write_back(name)
        self._flush()
        os.close(self._handle)

    def _emit(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at:at + PIECE]
            entry = LogEntry(kind=Kind.WRITE, first=(offset + at) // SECTOR, count=len(piece) // SECTOR)
            self._log.append(encode_entry(entry, piece))
            self._requests += 1

    def _emit_esp(self, sector: int, data: bytes) -> None:
        self._emit(self._esp + sector * SECTOR, data)

    def _flush(self) -> None:
        self._log.append(encode_entry(LogEntry(kind=Kind.FLUSH)))
        self._requests += 1

    def _start(self, partition: str) -> gpt.Partition:
        found = self._table.find(partition)
        assert found is not None, partition
        return found

    def _write_back(self, partition: str) -> None:
        for offset, length in self._waiting.pop(partition, []):
            start, end = offset // SECTOR * SECTOR, -(-(offset + length) // SECTOR) * SECTOR
            self._emit(start, os.pread(self._handle, end - start, start))

    # what the updater calls

    def write(self, partition: str, offset: int, data: bytes) -> None:
        start = self._start(partition).start + offset
        os.pwrite(self._handle, data, start)
        self._waiting.setdefault(partition, []).append((start, len(data)))

    def flush(self, partition: str) -> None:
        self._write_back(partition)
        self._flush()

    @contextmanager
    def read_back(self, partition: str) -> Iterator[BinaryIO]:
        found = self._start(partition)
        yield io.BytesIO(os.pread(self._handle, found.size, found.start))

    def store(self, state: SlotState) -> None:
        start = self._start("slot-state").start
        first, second = (os.pread(self._handle, RECORD_SIZE, start + at) for at in COPY_OFFSETS)
        at = start + COPY_OFFSETS[newest((first, second))[1]]
        os.pwrite(self._handle, encode_record(state), at)
        self._emit(at, encode_record(state))
        self._flush()

    @contextmanager
    def writable_esp(self) -> Iterator[None]:
        yield

    @property
    def _vfat(self) -> Vfat:
        assert self._files is not None
        return self._files

    @contextmanager
    def unmounted(self, partition: str) -> Iterator[None]:
        if partition != "esp":
            yield
            return
        self._vfat.sync_all()
        self._flush()
        os.pwrite(self._handle, self._vfat.cache, self._esp)
        size = len(self._vfat.cache)
        yield
        self._files = Vfat(os.pread(self._handle, size, self._esp), self._emit_esp)

    def names(self, folder: str) -> tuple[str, ...]:
        volume = read_fat(io.BytesIO(bytes(self._vfat.cache)))
        return volume.listdir(folder) if not folder or volume.find(folder) is not None else ()

    def create(self, path: str, content: Iterable[bytes]) -> None:
        self._vfat.create(path, b"".join(content))

    def overwrite(self, path: str, content: bytes) -> None:
        (extent,) = read_fat(io.BytesIO(bytes(self._vfat.cache))).locate(path)
        assert extent.start is not None
        assert extent.length == len(content) == SECTOR, "in place, one sector"
        self._vfat.cache[extent.start:extent.start + SECTOR] = content
        self._emit(self._esp + extent.start, content)
        self._flush()

    def rename(self, old: str, new: str) -> None:
        self._vfat.rename(old, new)

    def remove(self, path: str) -> None:
        self._vfat.remove(path)

    def sync_file(self, path: str) -> None:
        self._vfat.sync_file(path)
        self._flush()

    def sync_folder(self, path: str) -> None:
        self._vfat.sync_folder(path)
        self._flush()

    @contextmanager
    def open_file(self, path: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self._vfat.read(path))
