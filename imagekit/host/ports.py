"""The machine, as small Protocols. Executors get these handed in; each has a fake in `imagekit.testing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from imagekit.host.prepared import Prepared
    from imagekit.plan.factory_job import Port
    from imagekit.plan.flash_device import Device, Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that ended with status 0."""

    argv: tuple[str, ...]
    stdout: bytes
    stderr: bytes


class Tools(Protocol):
    """Programs of the host and of the locked tool parts, by name (`mke2fs`, `mkfs.erofs`)."""

    def run(self, name: str, *args: str | Path, stdin: bytes | None = None, cwd: Path | None = None,
            env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Finished:
        """Run to the end; the environment is fixed (LC_ALL=C.UTF-8, TZ=UTC, the given `env`), never the caller's.

        Raises:
            HostError: the program is missing, fails (its last 20 stderr lines as details) or runs out of time.
        """

    def find(self, name: str) -> Sequence[str]:
        """The argv prefix that starts `name`. Raises: HostError: with the package that brings it as hint."""


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> datetime:
        """The current time, always with a time zone (UTC)."""

    def monotonic_s(self) -> float:
        """Seconds that only ever grow; for durations."""


class Progress(Protocol):
    """Where executors tell how far they are. The command line draws it, tests record it."""

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        """A new step begins; the one before it is over."""

    def advance(self, amount: int) -> None:
        """So much more of the step is done."""

    def note(self, text: str) -> None:
        """One line of talk that belongs to the running step."""


class SerialLine(Protocol):
    """A serial line that is held open. Eight bits, no parity, no flow control; every byte as it is."""

    name: str
    baud: int

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, at least one byte; nothing when none comes within `timeout_s`.

        Raises:
            TargetError: the line is gone.
        """

    def write(self, content: bytes) -> None:
        """Send. Raises: TargetError: the line is gone, or takes nothing."""

    def set_baud(self, baud: int) -> None:
        """Go on at another rate, after everything written has left. Raises: TargetError: the line cannot."""

    def close(self) -> None:
        """Let go of it."""


class PacketLink(Protocol):
    """A line to a boot loader that speaks fastboot: whole packets, one side after the other."""

    name: str

    def send(self, content: bytes | memoryview) -> None:
        """Send a packet. Raises: TargetError: the line is gone, or nothing is taken."""

    def receive(self, timeout_s: float) -> bytes:
        """The next packet.

        Raises:
            TargetError: the line is gone, or none comes within `timeout_s`.
        """

    def close(self) -> None:
        """Let go of it."""


class BlockTarget(Protocol):
    """A medium that is held open for this process alone, from before it is confirmed until after it is verified.

    Offsets and lengths are bytes. Errors are the system's own (OSError): who writes decides what they mean. ESTALE: the
    medium was changed in its reader, and the new one is left alone.
    """

    sector: int  # what offsets, lengths and memory are best aligned to

    def identity(self) -> Identity:
        """What is behind the descriptor now, not behind a name. Raises: HostError: nothing any more."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read from the medium, not from memory of this machine; how many bytes there were."""

    def write(self, offset: int, content: memoryview) -> int:
        """Write; how many bytes were taken, perhaps fewer than offered."""

    def flush(self) -> None:
        """Return when all that was written survives a power cut."""

    def forget(self) -> None:
        """Let go of what this machine remembers of the medium, so that it is read anew."""

    def is_there(self) -> bool:
        """Whether the medium is still plugged in."""

    def resize(self, size: int) -> None:
        """Give a plain file this size; a device has the size it has."""

    def abandon(self) -> None:
        """A call on it may never return: from now on `close` leaves it to the end of the program."""

    def close(self) -> None:
        """Let go of it."""


class Inventory(Protocol):
    """The media of this machine."""

    def devices(self) -> Sequence[Device]:
        """Everything that is a block device, by path."""

    def device(self, path: Path) -> Device:
        """What a path leads to: a block device or a file, which need not exist yet.

        Raises:
            HostError: there is nothing, or neither of both.
        """

    def open(self, device: Device, *, writable: bool) -> BlockTarget:
        """Hold a device that was looked at: exclusively where it is to be written.

        Raises:
            RefusedError: it is in use, may not be written, or is not the one that was looked at.
            HostError: it is gone.
        """


class MediaPorts(Protocol):
    """The ports of a station, at which media come and go."""

    def seen(self, port: Port) -> str:
        """Empty while there is no medium; otherwise what tells this insertion of this medium from others."""

    def device(self, port: Port) -> Device:
        """The one medium that is there.

        Raises:
            HostError: there is none any more, or more than one.
        """

    def open(self, device: Device) -> BlockTarget:
        """Hold a device that was looked at, to be written. Raises: as `Inventory.open`."""


class Identities(Protocol):
    """Where units get their identities from."""

    @property
    def left(self) -> int:
        """How many there are still, as far as that is known."""

    def take(self) -> Prepared | None:
        """The next one, which nobody will get again; None: there is none left.

        Raises:
            HostError, DocumentError, TrustError: there is none that may be given.
        """

    def forget_key(self, item: Prepared) -> None:
        """The device has its key: nobody else keeps it."""

    def forget_made(self, serials: Collection[str]) -> None:
        """The same for units that were recorded just before a power cut."""

    def close(self) -> None:
        """Let go of it."""
