"""What is known of a thing that an image may be written to, and why it is refused.

Decides who may be written to: whole disks that nothing uses, that this machine does not live on, that are large enough,
and that somebody meant. Every refusal has a code that never changes its meaning (docs/reference/flash.md) and says what
would allow it. How the facts are found is `imagekit.host.devices`'s business; here they are values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from imagekit.disk.ext_csd import BootArea
from imagekit.errors import TargetError
from imagekit.units import SECTOR, iec


class Kind(StrEnum):
    """What a target is. A `MAPPING` lies over other disks (dm, md); a `MEMORY` is none that could be pulled out."""

    DISK = "disk"
    PARTITION = "partition"
    EMMC_BOOT = "emmc-boot"
    LOOP = "loop"
    FILE = "file"
    MAPPING = "mapping"
    MEMORY = "memory"


class Code(StrEnum):
    """Why a target is refused. Stable: scripts compare these words."""

    NOT_WHOLE_DISK = "not-whole-disk"
    IN_USE = "in-use"
    SYSTEM_ANCESTOR = "system-ancestor"
    TOO_SMALL = "too-small"
    SECTOR_SIZE = "sector-size"
    NOT_ALLOWED = "not-allowed"
    IDENTITY_CHANGED = "identity-changed"
    READ_ONLY = "read-only"
    PERMISSION = "permission"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason, and what would allow it; an empty `allow`: nothing does."""

    code: Code
    reason: str
    allow: str = ""


class RefusedError(TargetError):
    """A target is refused; `refusals` has every reason."""

    def __init__(self, path: str, refusals: tuple[Refusal, ...]) -> None:
        first = refusals[0]
        super().__init__(f"cannot write {path}: {first.code}: {first.reason}", hint=first.allow or None,
                         details=tuple(f"{item.code}: {item.reason}" for item in refusals[1:]))
        self.path = path
        self.refusals = refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells one medium from another, whatever it is called.

    `diskseq` is the kernel's number for this insertion of this medium (Linux 5.15), 0 where there is none; `backing` is
    the file of a loop device, or the device and inode of a plain file.
    """

    size: int
    serial: str = ""
    diskseq: int = 0
    backing: str = ""

    def differences(self, other: Identity) -> Iterator[str]:
        """Where another medium differs, in words."""
        for name, before, now in (("size", self.size, other.size), ("serial", self.serial, other.serial),
                                  ("disk sequence", self.diskseq, other.diskseq),
                                  ("what is behind it", self.backing, other.backing)):
            if before != now:
                yield f"{name} was {before or 'none'}, is {now or 'none'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Somebody uses a disk: `device` is the disk or what lies on it, `how` is in words."""

    device: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A target as it is now. `whole` is the disk of a partition; `system` are the mount points that live on it.

    `boots_from` is a setting of the whole eMMC that it is part of, or all of.
    """

    path: str
    kind: Kind
    identity: Identity
    sector: int = SECTOR
    model: str = ""
    bus: str = ""
    port: str = ""
    removable: bool = False
    read_only: bool = False
    permitted: bool = True
    exists: bool = True  # False: a file that will be made
    whole: str = ""
    uses: tuple[Use, ...] = ()
    system: tuple[str, ...] = ()
    content: str = ""  # what is on it now, in words
    boots_from: BootArea | None = None  # None: not known, or no eMMC

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def lasting(self) -> str:
        """What stays the same when the medium is plugged in again; empty where nothing tells it from others."""
        if self.kind is Kind.FILE:
            return f"{self.kind}/{self.identity.backing}" if self.identity.backing else ""
        known = self.identity.serial or self.identity.backing
        return f"{self.kind}/{self.identity.size}/{known}" if known else ""

    @property
    def fixed(self) -> bool:
        """Whether it looks like a part of this machine."""
        plugged = self.removable or self.bus in ("usb", "sd")
        return self.kind in (Kind.DISK, Kind.EMMC_BOOT) and not plugged


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A station's list: serial numbers and ports that may be written to. Empty: whoever is asked confirms."""

    serials: frozenset[str] = field(default_factory=frozenset)
    ports: frozenset[str] = field(default_factory=frozenset)

    def __bool__(self) -> bool:
        return bool(self.serials or self.ports)

    def names(self, device: Device) -> bool:
        """Whether the device is on the list."""
        return device.identity.serial in self.serials - {""} or device.port in self.ports - {""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What an image asks of a medium; `sector` 0: it has no table that would care."""

    size: int = 0
    sector: int = 0


def judge(device: Device, demand: Demand, allowed: Allowed) -> tuple[Refusal, ...]:
    """Every reason not to write to a device, the gravest first."""
    return tuple(_judge(device, demand, allowed))


def _judge(device: Device, demand: Demand, allowed: Allowed) -> Iterator[Refusal]:
    if device.kind is Kind.PARTITION:
        yield Refusal(code=Code.NOT_WHOLE_DISK, reason=f"it is a partition of {device.whole}",
                      allow=f"an image is written to the whole disk: {device.whole}")
    elif device.kind is Kind.MAPPING:
        yield Refusal(code=Code.NOT_WHOLE_DISK, reason="it is a mapping that lies over other disks",
                      allow="name the disk below it")
    if device.system:
        yield Refusal(code=Code.SYSTEM_ANCESTOR, reason=f"this machine runs from it: {', '.join(device.system)}")
    for use in device.uses:
        what = "it is" if use.device == device.path else f"{use.device} is"
        yield Refusal(code=Code.IN_USE, reason=f"{what} {use.how}", allow="" if device.system else _release(use))
    if device.read_only:
        yield Refusal(code=Code.READ_ONLY, reason="it is write-protected", allow=_unlock(device))
    if not device.permitted:
        yield Refusal(code=Code.PERMISSION, reason="you may not write to it", allow=_permit(device))
    yield from _size(device, demand)
    yield from _meant(device, allowed)


def _release(use: Use) -> str:
    if use.how.startswith("mounted"):
        return f"umount {use.device}"
    return f"swapoff {use.device}" if use.how == "swap" else "let go of it first"


def _unlock(device: Device) -> str:
    if device.kind is Kind.EMMC_BOOT:
        return "cut the power of the chip; if it is locked then too, it is so for ever"
    return "" if device.kind is Kind.FILE else "move the card's write-protect switch, or use another reader"


def _permit(device: Device) -> str:
    if device.kind is Kind.FILE:
        return "name a file that you may write"
    return "as root, or as a member of group disk: sudo adduser $USER disk, then log in again"


def _size(device: Device, demand: Demand) -> Iterator[Refusal]:
    if device.kind is Kind.FILE:
        return  # it takes the image's size
    size = device.identity.size
    if not size:
        yield Refusal(code=Code.TOO_SMALL, reason="there is no medium in it", allow="put a card in")
    elif size < demand.size:
        yield Refusal(code=Code.TOO_SMALL, reason=f"it has {size} bytes ({iec(size)}), the image {demand.size}"
                      f" ({iec(demand.size)})", allow="use a larger medium")
    if size and demand.sector and demand.sector != device.sector:
        yield Refusal(code=Code.SECTOR_SIZE, reason=f"its sectors have {device.sector} bytes, the image's partition"
                      f" table counts in {demand.sector}", allow="build the image for such disks, or use another disk")


def _meant(device: Device, allowed: Allowed) -> Iterator[Refusal]:
    name = f"--serial {device.identity.serial}" if device.identity.serial else f"--port {device.port}"
    name = name if device.identity.serial or device.port else ""
    if device.kind is Kind.MEMORY:
        yield Refusal(code=Code.NOT_ALLOWED, reason="it is memory of this machine, no medium")
    elif allowed and device.kind is not Kind.FILE and not allowed.names(device):
        found = f"serial {device.identity.serial or 'none'}, port {device.port or 'none'}"
        yield Refusal(code=Code.NOT_ALLOWED, reason=f"it is not on the list ({found})", allow=name)
    elif not allowed and device.fixed:
        bus = f" ({device.bus})" if device.bus else ""
        yield Refusal(code=Code.NOT_ALLOWED, reason=f"it looks like a fixed disk of this machine{bus}",
                      allow=f"name it: {name}" if name else "")


def bind_again(device: Device, now: Device) -> Device:
    """What is at a device's path by now, if it is the one that was looked at before.

    Raises:
        RefusedError: the name is another medium's by now, or that of one at another port.
    """
    bind(device, now.identity)
    if device.port != now.port:
        raise RefusedError(device.path, (Refusal(
            code=Code.IDENTITY_CHANGED, reason=f"port was {device.port or 'none'}, is {now.port or 'none'}",
            allow="look again which medium it is now: imagekit flash list"),))
    return now


def bind(device: Device, found: Identity) -> None:
    """Hold what was opened to what was looked at before.

    Raises:
        RefusedError: it is another medium now.
    """
    if device.identity != found:
        raise RefusedError(device.path, (Refusal(
            code=Code.IDENTITY_CHANGED, reason="; ".join(device.identity.differences(found)),
            allow="look again which medium it is now: imagekit flash list"),))
