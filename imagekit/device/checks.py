"""The things that are looked at before a boot counts as healthy. Each returns a `Check` and raises nothing."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagekit.boot import pislot, uboot
from imagekit.boot.health import Check
from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME
from imagekit.device.machine import ENVIRONMENT, Machine, Programs
from imagekit.device.verity import VerityDevice, scrub
from imagekit.disk.fat_read import read_fat
from imagekit.errors import DocumentError, TargetError

HOOK_TIMEOUT_S = 60
_CHUNK = 1 << 20
_KERNEL_MOST = 1 << 28
_LIST_FAILED = ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager", "--full")
_BOOT_COMPLETE = "boot-complete.target"


def check_boot_complete(programs: Programs) -> Check:
    """systemd reached boot-complete.target, so that no unit which this requires has failed or hangs."""
    name = "boot-complete"
    try:
        found = _shown(programs, _BOOT_COMPLETE, "ActiveState", "Requires")
        state = found.get("ActiveState", "unknown")
        if state == "active":
            return Check(name=name, ok=True, detail="reached")
        missing = [f"{unit} {why}" for unit in found.get("Requires", "").split() if (why := _missing(programs, unit))]
    except TargetError as error:
        return Check(name=name, ok=False, detail=error.message)
    return Check(name=name, ok=False, detail="; ".join(missing) or f"{_BOOT_COMPLETE} is {state}")


def _missing(programs: Programs, unit: str) -> str:
    """What keeps a unit from having started, empty: nothing. One that ran to its end may be inactive again."""
    found = _shown(programs, unit, "ActiveState", "InactiveExitTimestampMonotonic")
    state = found.get("ActiveState", "unknown")
    if state == "inactive":
        return "was not started" if found.get("InactiveExitTimestampMonotonic") == "0" else ""
    return {"active": "", "activating": "has not come to an end", "failed": "has failed"}.get(state, f"is {state}")


def _shown(programs: Programs, unit: str, *properties: str) -> dict[str, str]:
    lines = programs.run("systemctl", "show", f"--property={','.join(properties)}", unit).splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def check_units(programs: Programs, *, optional: Path) -> Check:
    """No unit has failed, but for those that may."""
    try:
        listed = programs.run(*_LIST_FAILED)
        patterns = _lines(optional)
    except TargetError as error:
        return Check(name="units", ok=False, detail=error.message)
    except OSError as error:
        return Check(name="units", ok=False, detail=f"cannot read {optional}: {error.strerror}")
    failed = [words[0] for line in listed.splitlines() if (words := line.split())]
    wrong = [unit for unit in failed if not any(fnmatch.fnmatchcase(unit, pattern) for pattern in patterns)]
    return Check(name="units", ok=not wrong, detail="failed: " + " ".join(wrong) if wrong else "none failed")


def check_root(name: str, device: VerityDevice | TargetError, expected: str) -> Check:
    """What is mounted is verity, with the root that the loader entry names, and stops at the first wrong block."""
    if isinstance(device, TargetError):
        return Check(name=name, ok=False, detail=device.message)
    if device.root != expected:
        return Check(name=name, ok=False, detail=f"root {device.root} is mounted, the loader entry says {expected}")
    if not device.restarts:
        return Check(name=name, ok=False, detail="a wrong block would not restart the device")
    return Check(name=name, ok=True, detail=device.root)


def check_image(*, on_esp: Path, in_package: Path) -> Check:
    """The kernel image that the firmware loads is the one in the verified package: verity does not reach the ESP."""
    try:
        with on_esp.open("rb", buffering=0) as loaded, in_package.open("rb", buffering=0) as verified:
            offset = 0
            while True:
                mine, theirs = loaded.read(_CHUNK), verified.read(_CHUNK)
                if mine != theirs:
                    return Check(name="image", ok=False,
                                 detail=f"{on_esp} differs from the package's within {len(theirs)} bytes from {offset}")
                if not mine:
                    return Check(name="image", ok=True, detail=f"{offset} bytes equal the package's")
                offset += len(mine)
    except OSError as error:
        return Check(name="image", ok=False, detail=f"cannot compare {error.filename or on_esp}: {error.strerror}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotForm:
    """How a loader's slots describe themselves: by which file, whether it describes all, and whose each file is."""

    described_by: str
    is_whole: Callable[[Mapping[str, bytes], Slot], bool]
    is_of_kernel: Callable[[str], bool]


UBOOT_FORM = SlotForm(described_by=ENV_NAME, is_whole=uboot.is_whole, is_of_kernel=lambda name: name != ENV_NAME)
PIBOOT_FORM = SlotForm(described_by=pislot.SUMS_NAME, is_whole=pislot.is_whole, is_of_kernel=pislot.is_of_kernel)


def check_slot_volume(form: SlotForm, *, device: Path | None, package: Path, slot: Slot) -> Check:
    """The kernel's files in the slot's FAT image are the verified package's, and all files are as measured."""
    if device is None:
        return Check(name="image", ok=False, detail=f"the disk has no partition boot-{slot.value}")
    try:
        with device.open("rb") as stream:
            volume = read_fat(stream, name=f"boot-{slot.value}")
            files = {entry.path: volume.read(entry.path, limit=_KERNEL_MOST)
                     for entry in volume.walk() if not entry.is_dir}
        for name, content in files.items():
            if form.is_of_kernel(name) and not _is_of_package(name, content, package):
                return Check(name="image", ok=False, detail=f"{name} of boot-{slot.value} is not the package's")
    except OSError as error:
        return Check(name="image", ok=False, detail=f"cannot compare {error.filename or device}: {error.strerror}")
    except DocumentError as error:
        return Check(name="image", ok=False, detail=error.message)
    if not form.is_whole(files, slot):
        return Check(name="image", ok=False,
                     detail=f"{form.described_by} of boot-{slot.value} does not describe its files")
    return Check(name="image", ok=True, detail=f"{sum(map(len, files.values()))} bytes, as the package has them")


def _is_of_package(name: str, content: bytes, package: Path) -> bool:
    """Whether the package has this file: a device tree anywhere below `dtbs`, the board's under any name."""
    paths = [package / name]
    if name.endswith(".dtb"):
        paths = sorted((package / "dtbs").rglob("*.dtb" if name == DEVICE_TREE else name))
    return any(path.is_file() and path.read_bytes() == content for path in paths)


class Scrub:
    """Reads devices in the background, one thread each, while the other checks run."""

    def __init__(self, devices: Sequence[tuple[Path, int]]) -> None:
        self._problems: list[str] = []
        self._unread = dict(devices)  # what no thread has come to the end of
        self._total = sum(size for _, size in devices)
        self._threads = [threading.Thread(target=self._read, args=item, daemon=True) for item in devices]
        for thread in self._threads:
            thread.start()

    def _read(self, device: Path, size: int) -> None:
        try:
            total = scrub(device)
            if total != size:
                self._problems.append(f"{device} ends at byte {total} of {size}")
            del self._unread[device]
        except TargetError as error:
            self._problems.append(error.message)

    def check(self) -> Check:
        """Wait for the end."""
        for thread in self._threads:
            thread.join()
        problems = self._problems or [f"{device} was not read to its end" for device in self._unread]
        if problems or not self._threads:
            return Check(name="scrub", ok=False, detail="; ".join(problems) or "there is nothing to read")
        return Check(name="scrub", ok=True, detail=f"{self._total} bytes read")


def check_var(*, var: Path, degraded: Path) -> tuple[Check, bool]:
    """Whether /var takes a file, and whether the device is degraded: it lives on without, so never unhealthy."""
    if degraded.exists():
        return Check(name="var", ok=True, detail="degraded: " + "; ".join(_lines(degraded))), True
    probe = var / "lib/imagekit/probe"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(handle, b"imagekit\n")
            os.fsync(handle)
        finally:
            os.close(handle)
            probe.unlink()
    except OSError as error:
        return Check(name="var", ok=True, detail=f"degraded: cannot write {probe}: {error.strerror}"), True
    return Check(name="var", ok=True, detail="writable"), False


def check_store(machine: Machine, *, now: datetime) -> Check:
    """What the store was last heard to say. It is told and never unhealthy: another slot hears no more of it."""
    from imagekit.device.history import load_history

    memory = load_history(machine)
    if not memory.unanswered:
        return Check(name="store", ok=True, detail=f"answered {memory.answered}" if memory.answered else "not asked")
    from imagekit.device.rhythm import silence

    alarm = silence(memory, now=now)
    return Check(name="store", ok=True, detail=f"alarm: {alarm}" if alarm else
                 f"{memory.unanswered} checks in a row came to no answer")


def check_hooks(folders: Sequence[Path], *, timeout_s: float = HOOK_TIMEOUT_S) -> Check:
    """Every program in the hook folders ends with status 0, in time; they run in the order of their names."""
    hooks = sorted(
        (path for folder in folders if folder.is_dir() for path in folder.iterdir()
         if path.is_file() and os.access(path, os.X_OK)),
        key=lambda path: (path.name, path),
    )
    wrong = [problem for hook in hooks if (problem := _run_hook(hook, timeout_s))]
    return Check(name="hooks", ok=not wrong, detail="; ".join(wrong) or f"{len(hooks)} passed")


def _run_hook(hook: Path, timeout_s: float) -> str:
    try:
        done = subprocess.run([hook], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              check=False, timeout=timeout_s, env=ENVIRONMENT)
    except subprocess.TimeoutExpired:
        return f"{hook} took longer than {timeout_s:g} s"
    except OSError as error:
        return f"{hook} cannot be run: {error.strerror}"
    if not done.returncode:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"{hook} ended with status {done.returncode}" + (f": {said[-1][:200]}" if said else "")


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
