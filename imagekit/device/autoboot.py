"""Blessing where the Raspberry Pi's firmware boots: `autoboot.txt` names the running slot, whatever it named before.

Decides: nothing but when to write. The file is one sector and is overwritten in place, so that a power cut leaves the
old one or the new one. The boot partition is mounted read-only but for this.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from imagekit.boot.autoboot import AUTOBOOT_NAME, AUTOBOOT_SIZE, Autoboot, encode_autoboot
from imagekit.boot.slotstate import Slot
from imagekit.device.machine import Programs
from imagekit.errors import TargetError


def prefer(slot: Slot, *, boot: Path, disk: Path, sys: Path, programs: Programs | None) -> bool:
    """Make the firmware start this slot; True when it did not before. Without `programs` the partition is writable.

    Raises:
        TargetError: the disk lacks a boot partition, or the file cannot be written.
    """
    numbers = slot_numbers(disk=disk, sys=sys)
    wanted = encode_autoboot(Autoboot(boot=numbers[slot], trial=numbers[slot.other]))
    path = boot / AUTOBOOT_NAME
    try:
        if path.is_file() and path.read_bytes() == wanted:
            return False
        if programs:
            programs.run("mount", "-o", "remount,rw", str(boot))
        try:
            overwrite(path, wanted)
        finally:
            if programs:
                with suppress(TargetError):  # still mounted writable: untidy, but it is written
                    programs.run("mount", "-o", "remount,ro", str(boot))
    except OSError as error:
        raise TargetError(f"cannot bless slot {slot.value}: {error.filename or path}: {error.strerror}") from error
    return True


def overwrite(path: Path, content: bytes) -> None:
    """In place, on the disk when this returns; a file that is missing is made, what is too long is cut off."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(handle, content, 0)
        os.fsync(handle)
        if os.fstat(handle).st_size > AUTOBOOT_SIZE:
            os.ftruncate(handle, AUTOBOOT_SIZE)
            os.fsync(handle)
    finally:
        os.close(handle)


def slot_numbers(*, disk: Path, sys: Path) -> dict[Slot, int]:
    """The numbers of the slots' boot partitions, as the kernel tells them. Raises: TargetError: one is not there."""
    return {slot: _number(slot, disk=disk, sys=sys) for slot in Slot}


def _number(slot: Slot, *, disk: Path, sys: Path) -> int:
    wanted = f"PARTNAME=boot-{slot.value}"
    for path in sorted((sys / "block" / disk.name).glob(f"{disk.name}*/uevent")):
        lines = path.read_text().splitlines()
        number = next((line.partition("=")[2] for line in lines if line.startswith("PARTN=")), "")
        if wanted in lines and number.isdigit():
            return int(number)
    raise TargetError(f"cannot choose a slot: {disk} has no partition boot-{slot.value}")
