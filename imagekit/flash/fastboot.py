"""Speak fastboot: ask a boot loader, send it files, have it write them, and have its U-Boot run commands.

Decides how long an answer may take and what a refusal means. Over U-Boot, `oem run` gives the status of a command, not
what it says: that is enough to read the disk and to compare a CRC-32, and both are tried on memory before they are
believed.

Source: see `imagekit.boot.fastboot`; U-Boot common/hash.c (where `crc32` puts its result), cmd/test.c, cmd/itest.c.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from imagekit.boot.fastboot import LONGEST, Reply, Word, decode_reply, parse_number
from imagekit.errors import TargetError
from imagekit.flash.uboot import FINDERS, limit, nothing, size_by_reading
from imagekit.host.ports import PacketLink
from imagekit.packages.board import UBoot as Profile
from imagekit.units import MIB, SECTOR

ANSWER_S = 30.0
PACKET = 1 * MIB  # of a file that is sent
RUNNERS = ("oem run", "UCmd")  # how U-Boots have commands run
TRIED = 4 * SECTOR  # bytes of memory that a comparison is tried on


class RefusedCommandError(TargetError):
    """The boot loader answered FAIL; `said` is what came with it."""

    def __init__(self, name: str, command: str, said: str) -> None:
        super().__init__(f"cannot have {name} do {command!r}: it says {said or 'no, and not why'}")
        self.said = said


class Fastboot:
    """A boot loader at the other end of a line. `told` gets what it says meanwhile."""

    def __init__(self, link: PacketLink, *, told: Callable[[str], None] = lambda _: None) -> None:
        self.link, self._told = link, told

    def command(self, text: str, *, timeout_s: float = ANSWER_S) -> str:
        """Have a command done; what came with OKAY. Each INFO gives it the same time again.

        Raises:
            RefusedCommandError: it answered FAIL.
            TargetError: it does not answer, or not as fastboot does.
        """
        self._say(text)
        return self._end(text, timeout_s)

    def getvar(self, name: str) -> str | None:
        """A variable; None: it has none of that name."""
        try:
            return self.command(f"getvar:{name}").strip() or None
        except RefusedCommandError:
            return None

    def number(self, name: str) -> int | None:
        """A variable that is a number."""
        found = self.getvar(name)
        return None if found is None else parse_number(found)

    def download(self, content: bytes, sent: Callable[[int], None] = nothing) -> None:
        """Send a file into the boot loader's memory. Raises: as `command`."""
        command = f"download:{len(content):08x}"
        self._say(command)
        reply = self._hear(command, ANSWER_S)
        if reply.word is not Word.DATA or reply.text.lower() != f"{len(content):08x}":
            raise TargetError(f"cannot send to {self.link.name}: asked to take {len(content)} bytes, it says"
                              f" {reply.word}{reply.text}")
        view = memoryview(content)
        for start in range(0, len(content), PACKET):
            piece = view[start:start + PACKET]
            self.link.send(piece)
            sent(len(piece))
        self._end(command, limit(len(content)))

    def flash(self, partition: str, size: int) -> None:
        """Write the file that was sent last; `size` bytes of the disk get something. Raises: as `command`."""
        self.command(f"flash:{partition}", timeout_s=limit(size))

    def _say(self, text: str) -> None:
        packet = text.encode("ascii")
        if len(packet) > LONGEST:
            raise ValueError(f"a command of {len(packet)} bytes")
        self.link.send(packet)

    def _end(self, command: str, timeout_s: float) -> str:
        reply = self._hear(command, timeout_s)
        if reply.word is not Word.OKAY:
            raise TargetError(f"cannot understand {self.link.name}: it answers {command!r} with"
                              f" {reply.word}{reply.text}")
        return reply.text

    def _hear(self, command: str, timeout_s: float) -> Reply:
        """The answer that ends a command, or asks for data."""
        while True:
            packet = self.link.receive(timeout_s)
            reply = decode_reply(packet)
            if reply is None:
                raise TargetError(f"cannot understand {self.link.name}: it answers {command!r} with {packet[:64]!r}")
            if reply.word is Word.FAIL:
                raise RefusedCommandError(self.link.name, command, reply.text)
            if reply.word in (Word.OKAY, Word.DATA):
                return reply
            self._told(reply.text)


class Shell:
    """The U-Boot behind a boot loader: commands by `oem run`, of which only the status comes back.

    `find_shell` makes one, after it has shown that both answers are true.
    """

    def __init__(self, fastboot: Fastboot, runner: str, board: Profile) -> None:
        self._fastboot, self._runner, self.board = fastboot, runner, board
        self._compare: Callable[[int, int, int], bool] | None = None

    @property
    def _interface(self) -> str:
        return self.board.disk.split()[0]

    def run(self, command: str, *, timeout_s: float = ANSWER_S) -> bool:
        """Run it; whether it succeeded. Raises: TargetError: the line is gone."""
        try:
            self._fastboot.command(f"{self._runner}:{command}", timeout_s=timeout_s)
        except RefusedCommandError:
            return False
        return True

    @property
    def compares(self) -> bool:
        """Whether it can tell if memory has a given CRC-32."""
        return self._compare is not None

    def find_disk(self) -> bool:
        """Make the disk known to it; whether there is one."""
        number = self.board.disk.split()[1]
        words = FINDERS[self._interface].format(number).split("; ")
        return all([self.run(word, timeout_s=60) for word in words][-1:])

    def disk_size(self, least: int) -> int:
        """The size of the disk in bytes, found by reading; less than `least` where that cannot be read."""
        return size_by_reading(lambda sector: self._read(sector * SECTOR, SECTOR), least, sector=SECTOR,
                               disk=self.board.disk)

    def disk_holds(self, start: int, content: bytes) -> bool:
        """Whether these bytes are on the disk. Raises: TargetError: it cannot be read there."""
        assert self._compare is not None
        expected = zlib.crc32(content)
        for _ in range(2):  # a no is asked for again: the reading may have failed
            if self._read(start, len(content)) and self._compare(self.board.address, len(content), expected):
                return True
        if not self._read(start, len(content)):
            raise TargetError(f"cannot read disk {self.board.disk} of the board: {len(content)} bytes at {start}")
        return False

    def _read(self, start: int, size: int) -> bool:
        return self.run(f"{self._interface} read {self.board.address:x} {start // SECTOR:x} {size // SECTOR:x}",
                        timeout_s=limit(size))

    def learn_to_compare(self) -> None:
        """Find a way to compare a CRC-32 that says yes to the right one, and no to a wrong one."""
        content = bytes(TRIED)
        if not self.run(f"mw.b {self.board.address:x} 0 {TRIED:x}"):
            return
        right = zlib.crc32(content)
        for way in (self._verified, self._stored_big, self._stored_little):
            if way(self.board.address, TRIED, right) and not way(self.board.address, TRIED, right ^ 0x01010101):
                self._compare = way
                return

    def _verified(self, address: int, size: int, crc: int) -> bool:
        """By `crc32 -v`, which not every U-Boot is built with."""
        return self.run(f"crc32 -v {address:x} {size:x} {crc:08x}", timeout_s=limit(size))

    def _stored_big(self, address: int, size: int, crc: int) -> bool:
        """U-Boots with several digests store a CRC-32 as its bytes, the highest first."""
        return self._stored(address, size, int.from_bytes(crc.to_bytes(4, "big"), "little"))

    def _stored_little(self, address: int, size: int, crc: int) -> bool:
        """Those with none but this store a number."""
        return self._stored(address, size, crc)

    def _stored(self, address: int, size: int, word: int) -> bool:
        """Have the CRC-32 put behind what it is of, and compared there."""
        where = address + size
        return (self.run(f"crc32 {address:x} {size:x} {where:x}", timeout_s=limit(size))
                and self.run(f"itest.l *{where:x} == {word:x}"))


def find_shell(fastboot: Fastboot, board: Profile) -> Shell | None:
    """The U-Boot behind a boot loader; None: it runs no commands, or answers the same to all of them."""
    for runner in RUNNERS:
        shell = Shell(fastboot, runner, board)
        if shell.run("true") and not shell.run("false"):
            shell.learn_to_compare()
            return shell
    return None
