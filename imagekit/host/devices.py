"""The block devices of this machine: what each is, where it is plugged in, who uses it, what lies on it.

Decides how the facts are read: sysfs for all of them, udev's properties by pyudev for serial number and model where a
udev runs, and what an eMMC boots from by its own register. What is then allowed is `imagekit.plan.flash_device`'s
business. Folders are parameters, so that tests can hand in a machine of their own.

Source: Linux Documentation/ABI/stable/sysfs-block, Documentation/filesystems/proc.rst (mountinfo).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from imagekit.disk.describe import describe
from imagekit.disk.ext_csd import BootArea, boot_area
from imagekit.errors import HostError
from imagekit.host.block import HeldTarget, file_identity, hold
from imagekit.host.files import reason
from imagekit.host.mmc import read_ext_csd
from imagekit.plan.flash_device import Code, Device, Identity, Kind, Refusal, RefusedError, Use, bind

SECTOR = 512  # sysfs counts in these, whatever the disk has
SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/boot/firmware", "/efi", "/usr", "/var", "/etc", "/home")
_USB_DEVICE = re.compile(r"\d+-\d+(\.\d+)*")
_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_MMC_BOOT = re.compile(r"mmcblk\d+boot\d+")
_MMC = re.compile(r"(mmcblk\d+)(boot\d+)?")

Properties = Callable[[str], Mapping[str, str]]
Registers = Callable[[Path], bytes]  # of the eMMC at this node: EXT_CSD


def udev_properties(name: str) -> Mapping[str, str]:
    """What udev knows of a block device: of a loop device nothing, and hardly anything where it does not run."""
    if name.startswith("loop"):
        return {}
    try:
        import pyudev
    except ImportError:  # without libudev
        return {}
    try:
        return dict(pyudev.Devices.from_name(pyudev.Context(), "block", name).properties)
    except pyudev.DeviceNotFoundError:
        return {}


class SystemInventory:
    """`Inventory` of the running system."""

    def __init__(self, *, sys: Path = Path("/sys"), proc: Path = Path("/proc"), dev: Path = Path("/dev"),
                 properties: Properties = udev_properties, registers: Registers = read_ext_csd) -> None:
        self._sys, self._proc, self._dev = sys, proc, dev
        self._properties, self._registers = properties, registers

    def devices(self) -> tuple[Device, ...]:
        found = []
        for entry in sorted((self._sys / "block").glob("*")):
            if _text(entry / "size") == "0" and entry.name.startswith(("loop", "ram", "zram", "nbd")):
                continue  # nodes that nobody has set up
            disk = [self._device(entry.name)]
            disk += [self._device(below.name) for below in _entries(entry) if _is_partition(below)]
            if entry.exists():  # not pulled out meanwhile
                found += disk
        return tuple(found)

    def plugged(self, port: str) -> dict[str, str]:
        """The disks with a medium at a USB port, with what tells this insertion from others; no medium is read."""
        found = {}
        for entry in sorted((self._sys / "block").glob("*")):
            usb = _usb(_real(entry))
            if usb is not None and usb.name == port and (mark := self.mark(entry.name)):
                found[entry.name] = mark
        return found

    def mark(self, name: str) -> str:
        """What tells this insertion of a disk's medium from others; empty without a medium."""
        folder = self._folder(name)
        size = _text(folder / "size")
        return f"{name}/{_text(folder / 'diskseq')}/{size}" if size not in ("", "0") else ""

    def node(self, name: str) -> Path:
        """Where the disk that sysfs calls `name` is opened."""
        return self._dev / name.replace("!", "/")

    def device(self, path: Path) -> Device:
        try:
            found = path.stat()
        except FileNotFoundError:
            return self._new_file(path)
        except OSError as error:
            raise HostError(f"cannot use {path}: {reason(error)}") from error
        if stat.S_ISREG(found.st_mode):
            permitted = os.access(path, os.R_OK | os.W_OK)
            return Device(path=str(path), kind=Kind.FILE, identity=file_identity(found), permitted=permitted,
                          content=_content(path), uses=tuple(self._loops_over(path)))
        if not stat.S_ISBLK(found.st_mode):
            raise HostError(f"cannot use {path}: it is neither a block device nor a file")
        name = self._name_of(found.st_rdev)
        return self._device(name)

    def _loops_over(self, path: Path) -> Iterator[Use]:
        """The loop devices that a file is behind."""
        real = os.path.realpath(path)
        for entry in sorted((self._sys / "block").glob("loop*")):
            if _text(entry / "loop/backing_file") == real:
                yield Use(device=str(path), how=f"behind {self.node(entry.name)}")

    def _new_file(self, path: Path) -> Device:
        if path.is_relative_to(self._dev):
            raise HostError(f"cannot use {path}: there is no such device",
                            hint="imagekit flash list shows what there is")
        if not path.parent.is_dir():
            raise HostError(f"cannot use {path}: there is no folder {path.parent}")
        return Device(path=str(path), kind=Kind.FILE, identity=Identity(size=0), exists=False,
                      permitted=os.access(path.parent, os.W_OK))

    def open(self, device: Device, *, writable: bool) -> HeldTarget:
        protect = self._unprotect(device) if writable and device.kind is Kind.EMMC_BOOT else lambda: None
        try:
            held = hold(device, writable=writable, facts=self._facts, afterwards=protect)
        except BaseException:
            protect()
            raise
        try:
            if device.exists:
                bind(device, held.identity())
        except BaseException:
            held.close()
            raise
        return held

    def _unprotect(self, device: Device) -> Callable[[], None]:
        """Let an eMMC boot partition be written; what is given back protects it again.

        Source: Linux Documentation/driver-api/mmc/mmc-dev-parts.rst.
        """
        switch = self._folder(device.name) / "force_ro"
        before = _text(switch)
        if before != "1":
            return lambda: None
        try:
            switch.write_text("0")
        except OSError as error:
            raise RefusedError(device.path, (Refusal(
                code=Code.PERMISSION, reason=f"its write protection cannot be lifted: {reason(error)}",
                allow="as root"),)) from error
        return lambda: _restore(switch, before)

    def _facts(self, number: int) -> Identity:
        name = self._name_of(number)
        return self._identity(name, self._folder(name))

    def _name_of(self, number: int) -> str:
        link = self._sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
        try:
            return link.resolve(strict=True).name
        except OSError as error:
            raise HostError(f"cannot use device {link.name}: it was pulled out") from error

    def _folder(self, name: str) -> Path:
        return _real(self._sys / "class" / "block" / name)

    def _device(self, name: str) -> Device:
        folder = self._folder(name)
        path = self._dev / name.replace("!", "/")
        kind = _kind(name, folder)
        disk = folder.parent if kind is Kind.PARTITION else folder
        properties = self._properties(name)
        return Device(
            path=str(path), kind=kind, identity=self._identity(name, folder),
            sector=int(_text(disk / "queue/logical_block_size") or SECTOR), model=_model(disk, properties),
            bus=_bus(disk), port=_port(disk), removable=_text(disk / "removable") == "1",
            read_only=_is_read_only(folder, kind), permitted=_may_write(path),
            whole=str(self._dev / disk.name.replace("!", "/")) if kind is Kind.PARTITION else "",
            uses=tuple(self._uses(folder)), system=tuple(self._system(folder)),
            content=_content(path) or properties.get("ID_FS_TYPE", ""),
            boots_from=None if kind is Kind.PARTITION else self._boots_from(disk))

    def _boots_from(self, disk: Path) -> BootArea | None:
        """What an eMMC is set to boot from, asked of its user area; None where that is denied, or it is no eMMC."""
        found = _MMC.fullmatch(disk.name)
        if found is None or _bus(disk) != "emmc":
            return None
        try:
            return boot_area(self._registers(self.node(found[1])))
        except OSError:
            return None

    def _identity(self, name: str, folder: Path) -> Identity:
        disk = folder.parent if (folder / "partition").exists() else folder
        return Identity(size=int(_text(folder / "size") or 0) * SECTOR, serial=_serial(disk, self._properties(name)),
                        diskseq=int(_text(disk / "diskseq") or 0), backing=_text(folder / "loop/backing_file"))

    def _below(self, folder: Path) -> Iterator[Path]:
        """A disk, its partitions, and all that lies over them."""
        yield folder
        for entry in _entries(folder):
            if _is_partition(entry):
                yield from self._below(entry)
        for holder in _entries(folder / "holders"):
            yield from self._below(self._folder(holder.name))

    def _uses(self, folder: Path) -> Iterator[Use]:
        mounts, swaps = self._mounts(), self._swaps()
        for entry in dict.fromkeys(self._below(folder)):
            node = str(self._dev / entry.name.replace("!", "/"))
            number = _text(entry / "dev")
            for point in mounts.get(number, ()):
                yield Use(device=node, how=f"mounted at {point}")
            if number in swaps:
                yield Use(device=node, how="swap")
            for holder in _entries(entry / "holders"):
                yield Use(device=node, how=f"held by {holder.name}")

    def _system(self, folder: Path) -> Iterator[str]:
        """Mount points of the system that lie on a disk, or on a partition's own."""
        mounts = self._mounts()
        numbers = {_text(entry / "dev") for entry in self._below(folder)}
        for point in SYSTEM_MOUNTS:
            if any(point in points for number, points in mounts.items() if number in numbers):
                yield point

    def _mounts(self) -> dict[str, list[str]]:
        """Mount points by device number. btrfs shows a number of its own: there the source counts."""
        found: dict[str, list[str]] = {}
        for line in _text(self._proc / "self/mountinfo").splitlines():
            words, _, rest = line.partition(" - ")
            number, point = words.split()[2], _unescaped(words.split()[4])
            source = rest.split()[1] if len(rest.split()) > 1 else ""
            if number.startswith("0:"):
                number = self._number_of(source)
            if number:
                found.setdefault(number, []).append(point)
        return found

    def _swaps(self) -> set[str]:
        lines = _text(self._proc / "swaps").splitlines()[1:]
        return {self._number_of(_unescaped(line.split()[0])) for line in lines} - {""}

    def _number_of(self, node: str) -> str:
        if not node.startswith(f"{self._dev}/"):
            return ""
        name = os.path.realpath(node).removeprefix(f"{self._dev}/").replace("/", "!")
        return _text(self._sys / "class/block" / name / "dev")


def _restore(switch: Path, before: str) -> None:
    with contextlib.suppress(OSError):  # it was pulled out
        switch.write_text(before)


def _text(path: Path) -> str:
    """A file of sysfs or proc; empty where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _entries(folder: Path) -> list[Path]:
    """What is in a folder of sysfs, in order of names; nothing where the device was pulled out."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _real(link: Path) -> Path:
    """Where a link of sysfs leads; the link itself where the device was pulled out while it was read."""
    try:
        return link.resolve()
    except OSError:
        return link


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _is_partition(folder: Path) -> bool:
    return (folder / "partition").is_file()


def _is_read_only(folder: Path, kind: Kind) -> bool:
    """An eMMC boot partition's switch is ours to turn, its chip's lock is not; an optical drive takes no images."""
    if kind is Kind.EMMC_BOOT:  # 1: locked until it loses power, 2: for ever
        return _text(folder / "ro_lock_until_next_power_on") in ("1", "2")
    return folder.name.startswith("sr") or _text(folder / "ro") == "1"


def _kind(name: str, folder: Path) -> Kind:
    if _is_partition(folder):
        return Kind.PARTITION
    if _MMC_BOOT.fullmatch(name):
        return Kind.EMMC_BOOT
    if name.startswith(("dm-", "md")) or _entries(folder / "slaves"):
        return Kind.MAPPING
    if name.startswith("loop"):
        return Kind.LOOP
    return Kind.MEMORY if name.startswith(("ram", "zram", "pmem")) else Kind.DISK


def _usb(disk: Path) -> Path | None:
    """The USB device that a disk is part of."""
    found = [folder for folder in (disk, *disk.parents) if _USB_DEVICE.fullmatch(folder.name)]
    return found[0] if found else None


def _bus(disk: Path) -> str:
    if _usb(disk):
        return "usb"
    if disk.name.startswith("mmcblk"):
        owner = disk if (disk / "device/type").exists() else disk.parent
        return {"MMC": "emmc", "SD": "sd"}.get(_text(owner / "device/type"), "mmc")
    names = "/".join(disk.parts)
    for word in ("nvme", "virtio", "ata"):
        if re.search(rf"/{word}\d", names):
            return word
    return "scsi" if disk.name.startswith("sd") else ""


def _port(disk: Path) -> str:
    """Where a disk is plugged in; the same for whatever is plugged in there."""
    usb = _usb(disk)
    if usb:
        return usb.name
    for word in ("ata", "mmc"):
        for folder in reversed(disk.parts):
            if re.fullmatch(rf"{word}\d+", folder):
                return folder
    return next((f"pci-{folder}" for folder in reversed(disk.parts) if _PCI.fullmatch(folder)), "")


def _serial(disk: Path, properties: Mapping[str, str]) -> str:
    named = properties.get("ID_SERIAL_SHORT", "")
    usb = _usb(disk)
    owner = disk.parent if _MMC_BOOT.fullmatch(disk.name) else disk
    places = (owner / "device/serial", owner / "serial", *((usb / "serial",) if usb else ()))
    return named or next((text for text in map(_text, places) if text), "")


def _model(disk: Path, properties: Mapping[str, str]) -> str:
    named = properties.get("ID_MODEL", "").replace("_", " ").strip()
    owner = disk.parent if _MMC_BOOT.fullmatch(disk.name) else disk
    words = [_text(owner / "device" / name) for name in ("vendor", "model")]
    # a virtio disk's vendor is a number, which tells nobody anything
    told = " ".join(word for word in words if word and not word.startswith("0x"))
    return named or told or _text(owner / "device/name")


def _may_write(path: Path) -> bool:
    return not path.exists() or os.access(path, os.R_OK | os.W_OK)


def _content(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return describe(stream)
    return ""

