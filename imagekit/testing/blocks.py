"""A medium in memory, with every fault that cards, readers and cables have."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagekit.errors import HostError
from imagekit.plan.flash_device import Device, Identity, Kind, bind
from imagekit.plan.flash_events import Event

STALE = b"\x5a"  # what a medium held before


@dataclass(slots=True, kw_only=True)
class MemoryTarget:
    """`BlockTarget` in memory. Offsets in `bad` cannot be written; `real` bytes is what a lying card really has."""

    size: int
    sector: int = 512
    seen: Identity | None = None
    content: bytearray = field(default_factory=bytearray)
    bad: frozenset[int] = frozenset()  # EIO
    unreadable: frozenset[int] = frozenset()  # EIO, until they are written
    real: int = 0  # writes beyond go round to its start
    lost: tuple[int, int] = (0, 0)  # writes into this extent are taken and never arrive
    flipped: frozenset[int] = frozenset()  # bytes that are read with one bit changed
    flips: int = 1 << 30  # how often that happens
    most: int = 0  # bytes that one write takes
    full_at: int = -1  # from this offset on it takes nothing
    pulled_after: int = 0  # bytes written until it is pulled out
    changed_after: int = 0  # bytes written until another one is in its place
    hangs_at: int = -1  # the write that covers this offset waits until `released`
    flushes: int = 0
    closed: bool = False
    abandoned: bool = False
    written: int = 0
    log: list[tuple[str, int, int]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    hangs: threading.Event = field(default_factory=threading.Event)
    on_write: Callable[[int], None] | None = None
    on_flush: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if not self.content:
            self.content = bytearray(STALE * (self.real or self.size))

    def _gone(self) -> bool:
        return bool(self.pulled_after) and self.written >= self.pulled_after

    def identity(self) -> Identity:
        found = self.seen or card(size=self.size).identity
        return replace(found, diskseq=found.diskseq + self._changed())

    def _changed(self) -> bool:
        return bool(self.changed_after) and self.written >= self.changed_after

    def _hold_to_it(self) -> None:
        if self._changed():
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self._hold_to_it()
        if self._gone():
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if any(offset <= place < offset + len(buffer) for place in self.unreadable):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        length = min(len(buffer), self.size - offset)
        start = offset % (self.real or self.size)
        length = min(length, len(self.content) - start)
        buffer[:length] = self.content[start:start + length]
        for place in self.flipped:
            if offset <= place < offset + length and self.flips:
                buffer[place - offset] ^= 1
                self.flips -= 1
        return length

    def write(self, offset: int, content: memoryview) -> int:
        self.log.append(("write", offset, len(content)))
        if self.on_write is not None:
            self.on_write(offset)
        self._hold_to_it()
        if offset <= self.hangs_at < offset + len(content):
            self.hangs.set()
            self.released.wait()
        if 0 <= self.full_at <= offset:
            return 0
        if self._gone():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if any(offset <= place < offset + len(content) for place in self.bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        length = min(len(content), self.most or len(content), self.size - offset)
        start = offset % (self.real or self.size)
        length = min(length, len(self.content) - start)
        if not self.lost[0] <= offset < self.lost[1]:
            self.content[start:start + length] = content[:length]
            self.unreadable = frozenset(place for place in self.unreadable if not offset <= place < offset + length)
        self.written += length
        return length

    def flush(self) -> None:
        if self._gone():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.log.append(("flush", 0, 0))
        self.flushes += 1
        if self.on_flush is not None:
            self.on_flush()

    def forget(self) -> None:
        self.log.append(("forget", 0, 0))

    def is_there(self) -> bool:
        return not self._gone()

    def resize(self, size: int) -> None:
        pass

    def abandon(self) -> None:
        self.abandoned = True

    def close(self) -> None:
        self.closed = True


@dataclass(slots=True, kw_only=True)
class FakeInventory:
    """`Inventory` of devices that a test describes; `targets` are what is behind their paths."""

    known: tuple[Device, ...]
    targets: dict[str, MemoryTarget] = field(default_factory=dict)

    def devices(self) -> Sequence[Device]:
        return self.known

    def device(self, path: Path) -> Device:
        for device in self.known:
            if device.path == str(path):
                return device
        raise HostError(f"cannot use {path}: there is no such device")

    def open(self, device: Device, *, writable: bool) -> MemoryTarget:
        target = self.targets[device.path]
        bind(device, target.identity())
        return target


@dataclass(slots=True, kw_only=True)
class Heard:
    """`Listener` that remembers."""

    events: list[Event] = field(default_factory=list)
    also: Callable[[Event], None] | None = None

    def told(self, event: Event) -> None:
        self.events.append(event)
        if self.also is not None:
            self.also(event)


def card(path: str = "/dev/sdx", *, size: int = 64 << 20, **more: object) -> Device:
    """A card in a USB reader, as `imagekit.host.devices` would describe it."""
    usual = Device(path=path, kind=Kind.DISK, identity=Identity(size=size, serial="0001", diskseq=7), bus="usb",
                   port="1-1.4", removable=True, model="Card Reader")
    return replace(usual, **more)  # type: ignore[arg-type]  # fields of Device
