"""The recordings of `imagekit powercut`: what is done with the image in QEMU, and what is kept of it.

Decides which disk a recording begins with: the image itself for an update; a copy on a larger disk for a first boot; a
device that has lived, holds something and is told to forget it for a factory reset.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagekit.cli.output import say
from imagekit.digests import sha256
from imagekit.disk.writelog import LogEntry
from imagekit.errors import UsageError
from imagekit.host.files import write_atomic
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.rebuild import check_log, open_recording
from imagekit.qemu.device import Device
from imagekit.qemu.record import image_digest, manifest_of
from imagekit.qemu.recording import (
    GROWN,
    RESET_BEGINS,
    Recorded,
    boot_files_on,
    plant_secret,
    prepare_reset,
    record_boot,
    record_update,
)
from imagekit.qemu.stick import make_stick
from imagekit.qemu.workbench import copy_sparse, disk_size
from imagekit.units import MIB

if TYPE_CHECKING:
    from imagekit.host.ports import Progress, Tools
    from imagekit.qemu.judge import Expectation
    from imagekit.qemu.machine import Accelerator, Machine

LOG, RECORDING, BEFORE = "writes.log", "recording.json", "before.img"
UPDATE_FILES = (".snap", ".snap.zst", ".assert")
LARGER = 512 * MIB  # than the image, for a first boot


class During(StrEnum):
    """What a device does while the power is cut."""

    UPDATE = "update"
    FIRST_BOOT = "first-boot"
    RESET = "factory-reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What everything below works on. `machine` boots `image`, `folder` holds the recording."""

    image: Path
    folder: Path
    during: During
    machine: Machine
    expectation: Expectation
    tools: Tools
    accelerator: Accelerator
    deadline_s: float

    @property
    def before(self) -> Path:
        """The disk before the first write."""
        return self.image if self.during is During.UPDATE else self.folder / BEFORE

    def device(self, disk: Path, *, expectation: Expectation | None = None, transcript: str | None = None) -> Device:
        """This disk in QEMU; `transcript` is the name of a file for its console."""
        return Device(disk, tools=self.tools, machine=self.machine, accelerator=self.accelerator,
                      expectation=expectation or self.expectation, deadline_s=self.deadline_s,
                      transcript=self.folder / transcript if transcript else None)


def recorded(job: Job, update: tuple[Path, ...], told: Progress) -> dict[str, Any]:
    """The recording, made or found; what is known of it.

    Raises:
        TargetError: the device does not do it.
        DocumentError: the log does not lead to the disk that was written.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    told.step("digests")
    files = update_files(update)
    known = {"image": digest_of(job.image), "machine": job.machine.name, "during": job.during.value,
             "update": {path.name: digest_of(path) for path in files}}
    kept = job.folder / RECORDING
    if kept.is_file() and job.before.is_file():
        there: dict[str, Any] = json.loads(kept.read_bytes())
        if {key: there.get(key) for key in known} == known and "brought" in there:
            say(f"the recording in {job.folder} is of this {job.during.value}: it is not made again")
            return there
    kept.unlink(missing_ok=True)
    came, brought = _record(job, files, told)
    emulator = job.tools.run(job.machine.emulator, "--version").stdout.decode("utf-8", "replace").splitlines()[0]
    made = {**known, "brought": brought, "emulator": emulator, "accelerator": job.accelerator.value,
            "recorded": asdict(came)}
    write_atomic(kept, json.dumps(made, indent=1).encode() + b"\n")
    return made


def _record(job: Job, files: list[Path], told: Progress) -> tuple[Recorded, Mapping[str, str]]:
    """Boot the device and log; what came, and which boot files the update brings."""
    if job.during is not During.UPDATE:
        _prepare(job, told)
        told.step(f"record the {job.during.value}")
        line = GROWN if job.during is During.FIRST_BOOT else RESET_BEGINS
        return record_again(job, job.before, job.folder / LOG, expect=line), {}
    with tempfile.TemporaryDirectory(prefix="imagekit-stick-") as scratch:
        whole = len(files) == 1 and not files[0].name.endswith(UPDATE_FILES)
        stick = files[0] if whole else make_stick(Path(scratch) / "stick.img", files)
        told.step("record the update")
        with job.device(job.image, transcript="console.log") as device:
            came = record_update(device, stick, job.folder / LOG)
            told.step("hold the log to the disk")
            _hold(job, job.image, job.folder / LOG, device)
        return came, boot_files_on(stick, job.image)


def record_again(job: Job, before: Path, log: Path, *, expect: str = "", expectation: Expectation | None = None
                 ) -> Recorded:
    """Record a boot of a disk up to its healthy verdict, and to the line that is expected."""
    with job.device(before, expectation=expectation, transcript=log.with_suffix(".console").name) as device:
        came = record_boot(device, log, expect=expect)
        _hold(job, before, log, device)
    return came


def _hold(job: Job, before: Path, log: Path, device: Device) -> None:
    with opened(job, before, log) as (disk, requests), device.disk_path.open("rb") as written:
        check_log(disk, requests, written)


def _prepare(job: Job, told: Progress) -> None:
    """Make the disk that the recording begins with."""
    job.before.unlink(missing_ok=True)
    copy_sparse(job.image, job.before)
    if job.during is During.FIRST_BOOT:
        os.truncate(job.before, job.image.stat().st_size + LARGER)
        return
    told.step("let the device live")
    plant_secret(job.tools, job.before, job.folder)
    with job.device(job.before, transcript="life.console") as device:
        prepare_reset(device)
        job.before.unlink()
        copy_sparse(device.disk_path, job.before)


def update_files(update: tuple[Path, ...]) -> list[Path]:
    """The files of an update, folders opened. Raises: UsageError: there are none, or two of one name."""
    files = [item for path in update for item in (sorted(path.iterdir()) if path.is_dir() else [path])
             if not path.is_dir() or item.name.endswith(UPDATE_FILES)]
    if update and not files:
        raise UsageError(f"cannot use {update[0]}: no package lies there")
    if len({path.name for path in files}) < len(files):
        raise UsageError("cannot make a stick of the update: two files have the same name")
    return files


def digest_of(path: Path) -> str:
    """An image's digest as in its manifest, or of any other file its SHA-256."""
    manifest = manifest_of(path)
    if manifest is not None:
        return image_digest(path, manifest)
    with path.open("rb") as stream:
        return sha256(stream)


def opened(job: Job, before: Path, log: Path) -> AbstractContextManager[tuple[CutDisk, tuple[LogEntry, ...]]]:
    """The disk before the first write, and the log."""
    return open_recording(before, log, size=disk_size(job.machine, before.stat().st_size))
