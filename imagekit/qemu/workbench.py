"""The private folder of a run: the disk the guest writes to, its firmware variables; gone afterwards.

Two ways to a disk that leaves the image alone. An **overlay** (qcow2) costs nothing and is for watching. A **copy**
(sparse, or shared extents where the file system can) is a plain file of bytes that may be broken on purpose at any
offset between boots, with nothing but `open`; it costs the mapped part of the image. QEMU's SD cards have to be a power
of two in size: there both are larger than the image, as a real card would be.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagekit.disk import gpt
from imagekit.disk.fat_read import read_fat
from imagekit.errors import DocumentError
from imagekit.host.ports import Tools
from imagekit.qemu.devicetree import edit_tree
from imagekit.qemu.machine import SD_CARD, Machine, check_qemu, find_firmware

_COPY_STEP = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Files of one run, in a folder of mode 0700."""

    folder: Path
    disk: Path
    disk_format: str
    firmware_code: Path | None
    firmware_variables: Path | None
    card_files: tuple[tuple[str, Path], ...] = ()


@contextmanager
def workbench(tools: Tools, machine: Machine, image: Path, *, copy: bool = False,
              keep: bool = False) -> Iterator[Workbench]:
    """Make the folder, and remove it afterwards unless `keep`.

    Raises:
        DocumentError: the image is not a file, or lacks the firmware that its machine takes from the card.
        HostError: QEMU is too old for the machine; qemu-img, the firmware or what edits a device tree is missing.
    """
    if not image.is_file():
        raise DocumentError(f"cannot boot {image}: it is not a file")
    check_qemu(tools, machine)
    chips = find_firmware(machine)
    folder = Path(tempfile.mkdtemp(prefix="imagekit-boot-"))
    try:
        code, own_variables = None, None
        if chips is not None:
            code, own_variables = chips[0], folder / "vars.fd"
            shutil.copyfile(chips[1], own_variables)
        size = disk_size(machine, image.stat().st_size)
        if copy or machine.firmware.pi:  # a played firmware reads the disk, and no qcow2
            disk, disk_format = folder / "disk.img", "raw"
            copy_sparse(image, disk)
            os.truncate(disk, size)
        else:
            disk, disk_format = folder / "disk.qcow2", "qcow2"
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.resolve(), disk, str(size))
        yield Workbench(folder=folder, disk=disk, disk_format=disk_format, firmware_code=code,
                        firmware_variables=own_variables, card_files=card_files_of(tools, machine, image, folder))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def disk_size(machine: Machine, image_size: int) -> int:
    """The size of a run's disk in bytes: the image's, or on a board's card slot the next power of two."""
    return 1 << (image_size - 1).bit_length() if machine.disk == SD_CARD else image_size


def card_files_of(tools: Tools, machine: Machine, image: Path, folder: Path) -> tuple[tuple[str, Path], ...]:
    """This run's copies of what the card has for QEMU, the device tree as the machine wants it.

    Raises:
        DocumentError: as `copy_card_files`.
        HostError: as `edit_tree`.
    """
    copies = copy_card_files(machine, image, folder)
    if machine.device_tree and machine.firmware.card is not None:
        edit_tree(tools, dict(copies)["dtb"], machine.device_tree)
    return copies


def copy_card_files(machine: Machine, image: Path, folder: Path) -> tuple[tuple[str, Path], ...]:
    """What the machine's board reads off its card before anything runs there, out of the image into `folder`.

    Raises:
        DocumentError: the image has no such partition, or no such file in it.
    """
    card = machine.firmware.card
    if card is None:
        return ()
    with image.open("rb") as stream:
        found = gpt.decode(stream).find(card.partition)
        if found is None:
            raise DocumentError(f"cannot boot {image} on machine {machine.name!r}: it has no partition"
                                f" {card.partition!r}, where the machine's firmware lies")
        volume = read_fat(stream, found.start, name=card.partition)
        copies = []
        for name, path in card.files:
            copies.append((name, folder / f"card-{name}"))
            copies[-1][1].write_bytes(volume.read(path))
    return tuple(copies)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy the data of a sparse file and leave its holes holes."""
    with source.open("rb") as reader, target.open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        os.ftruncate(writer.fileno(), size)
        for start, end in data_extents(reader.fileno(), size):
            while start < end:
                copied = _copy_range(reader.fileno(), writer.fileno(), start, min(end - start, _COPY_STEP))
                if copied == 0:
                    raise DocumentError(f"cannot copy {source}: it became shorter meanwhile")
                start += copied


def _copy_range(source: int, target: int, start: int, count: int) -> int:
    """Copy within the kernel where it can, sharing extents where the file system can; else through memory."""
    try:
        return os.copy_file_range(source, target, count, start, start)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return os.pwrite(target, os.pread(source, min(count, 1 << 20), start), start)


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The half-open byte ranges of a file that are not holes."""
    start = 0
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:  # ENXIO: no data up to the end
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
        start = end
