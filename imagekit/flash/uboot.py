"""What a U-Boot does for us over its console: take a file into memory, tell checksums, read and write its disk.

Decides the commands and how often a transfer is tried. Everything that comes into memory is checked there before it is
used, and every command may be run twice. Numbers are hexadecimal on U-Boot's side, bytes on ours.

Source: U-Boot's documentation of `loady`, `crc32`, `gzwrite`, and of the block commands (`mmc`, `virtio`, ...).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

from imagekit.errors import TargetError
from imagekit.flash.console import LONGEST, NOISY, Console, GarbledError
from imagekit.flash.ymodem import TransferError, send
from imagekit.host.ports import Clock
from imagekit.units import KIB, SECTOR

TRANSFERS = 3
SLOWEST = 100 * KIB  # bytes a second that a disk and a checksum are given time for
ASKS = r"bps\.\.\.\s*C"  # what `loady` says, and the letter with which it asks
BUFFERS = (0x40000, 0x40200)  # of gzwrite
FINDERS = {"mmc": "mmc dev {0}", "virtio": "virtio scan; virtio dev {0}", "nvme": "nvme scan; nvme dev {0}",
           "usb": "usb start; usb dev {0}", "scsi": "scsi scan; scsi dev {0}"}
LARGEST = 1 << 45  # of a disk
GEOMETRY = r"\(\d+ x (\d+)\)"  # what it says of a chosen disk: its sectors, and the bytes of one; of mmc: nothing

Sent = Callable[[int], None]


def nothing(_: int) -> None:
    """Told of progress, and not interested."""


class UBoot:
    """A U-Boot at its prompt."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console, self.board, self._clock = console, console.board, clock
        self.sector = SECTOR  # of its disk, as soon as that is found

    # ---- memory

    def load(self, content: bytes, *, address: int | None = None, name: str = "imagekit", sent: Sent = nothing) -> None:
        """Put bytes into the board's memory by YMODEM, and see there that they are what was sent.

        Raises:
            TargetError: they do not get through.
        """
        where = self.board.address if address is None else address
        for left in reversed(range(TRANSFERS)):
            done = 0

            def tell(count: int) -> None:
                nonlocal done
                done += count
                sent(count)

            try:
                with self.console.dialogue(f"loady {where:x}", ASKS):
                    send(self.console.line, name, content, self._clock, asked=True, sent=tell)
            except (TransferError, GarbledError) as error:
                if not left:
                    raise TargetError(f"cannot load {name} into the board's memory: {error.message}",
                                      details=error.details or self.console.last_words(),
                                      hint=NOISY) from error
            if self.holds(content, where):
                return
            sent(-done)
        raise TargetError(f"cannot load {name} into the board's memory: after {TRANSFERS} transfers something else is"
                          " there", hint="is that memory in use? see `memory` in the board's recipe.yaml")

    def crc(self, address: int, size: int, *, first: str = "") -> int:
        """CRC-32 of the board's memory; `first` is a command that must succeed before, on the same line."""
        return self._checksums(f"{first}crc32 {address:x} {size:x}", 1, size)[0]

    def crcs(self, runs: Sequence[tuple[int, int]]) -> list[int]:
        """CRC-32 of several runs of memory, `address, size` each, in as few lines as they fit in."""
        commands = [f"crc32 {address:x} {size:x}" for address, size in runs]
        result: list[int] = []
        while len(result) < len(runs):
            count = 1
            rest = commands[len(result):]
            while count < len(rest) and len("; ".join(rest[:count + 1])) <= LONGEST - 40:
                count += 1
            size = sum(size for _, size in runs[len(result):len(result) + count])
            result += self._checksums("; ".join(rest[:count]), count, size)
        return result

    def _checksums(self, command: str, count: int, size: int) -> list[int]:
        """What a line with `count` times `crc32` told. Raises: TargetError: it cannot be understood."""
        for _ in range(self.console.patience.tries):
            found = re.findall(r"==> ([0-9a-f]{8})$", self.console.must(command, timeout_s=limit(size)), re.MULTILINE)
            if len(found) == count:
                return [int(item, 16) for item in found]
        raise TargetError("cannot read a checksum on the board: its answers cannot be understood",
                          details=self.console.last_words())

    def holds(self, content: bytes, address: int | None = None) -> bool:
        """Whether these bytes lie in the board's memory. A no is asked for again: noise may have made it."""
        where = self.board.address if address is None else address
        expected = zlib.crc32(content)
        return any(self.crc(where, len(content)) == expected for _ in range(2))

    def has(self, command: str) -> bool:
        """Whether it knows a command. The status of `help` tells nothing."""
        return "Usage:" in self.console.run(f"help {command}").text

    # ---- the disk

    @property
    def _interface(self) -> str:
        return self.board.disk.split()[0]

    def find_disk(self) -> str:
        """Make the disk known to it and to us, and what it says of it. Raises: TargetError: there is none."""
        number = self.board.disk.split()[1]
        found = self.console.run(FINDERS[self._interface].format(number), timeout_s=60)
        if found.status:
            raise TargetError(f"cannot find disk {self.board.disk} on the board: U-Boot sees none",
                              details=tuple(f"board: {line}" for line in found.text.splitlines()),
                              hint="is the card in? another disk is named with --disk")
        if told := re.search(GEOMETRY, found.text):
            self.sector = int(told[1])
        return " ".join(self.console.run(f"{self._interface} info").text.split())

    def disk_size(self, least: int) -> int:
        """The size of the disk in bytes, found by reading; less than `least` where that cannot be read."""
        return size_by_reading(self._readable, least, disk=self.board.disk, sector=self.sector)

    def _readable(self, sector: int) -> bool:
        answer = self.console.run(f"{self._interface} read {self.board.address:x} {sector:x} 1", timeout_s=60)
        return answer.status == 0

    def disk_holds(self, start: int, content: bytes) -> bool:
        """Whether these bytes are on the disk; afterwards what is there lies in memory.

        Raises:
            TargetError: the disk cannot be read there.
        """
        where = f"{start // self.sector:x} {len(content) // self.sector:x}"
        read = f"{self._interface} read {self.board.address:x} {where} && "
        expected = zlib.crc32(content)
        return any(self.crc(self.board.address, len(content), first=first) == expected for first in (read, ""))

    def write_packed(self, start: int, size: int, packed: int) -> None:
        """Unpack what lies in memory, `packed` bytes of gzip, onto the disk: `size` bytes at `start`.

        Raises:
            TargetError: the disk cannot be written there.
        """
        buffer = next(item for item in BUFFERS if size % item)
        self.console.must(f"gzwrite {self.board.disk} {self.board.address:x} {packed:x} {buffer:x} {start:x} {size:x}",
                          timeout_s=limit(size))


def size_by_reading(readable: Callable[[int], bool], least: int, *, sector: int, disk: str) -> int:
    """The size of a disk in bytes, of which `readable` tells whether a sector can be read; perhaps less than `least`.

    Any size that is told in words is rounded; whether a sector can be read is not.
    """
    low, high = 0, max(least // sector, 1)  # sector `low - 1` can be read, `high` is a guess
    while readable(high - 1):
        low, high = high, high * 2
        if high * sector > LARGEST:
            raise TargetError(f"cannot tell the size of disk {disk}: U-Boot reads beyond any end")
        if low == least // sector and not readable(low):
            return low * sector
    while high - low > 1:
        middle = (low + high) // 2
        if readable(middle - 1):
            low = middle
        else:
            high = middle
    return low * sector


def limit(size: int) -> float:
    """How long the slowest disk may take for so many bytes, in seconds."""
    return 30.0 + size / SLOWEST
