"""A board that speaks fastboot over TCP, strictly, with a disk in memory and a U-Boot behind it; faulty on demand.

It refuses what a real one refuses: files larger than its memory, partitions that it does not have, sparse files that
are damaged or reach beyond the disk. Commands that it does not know it does not run. What it understands of U-Boot is
what `imagekit.flash.fastboot` needs: `mmc dev`, `mmc read`, `mw.b`, `crc32`, `itest.l`, `setenv`, `true`, `false`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from imagekit.boot.fastboot import HANDSHAKE, LENGTH, LONGEST, decode_length, encode_length
from imagekit.disk.sparse import Kind, decode_sparse
from imagekit.errors import DocumentError
from imagekit.units import SECTOR

RAW = "fastboot_raw_partition_"
MEMORY = 1 << 20  # bytes from `address` on


class _DroppedError(Exception):
    """The connection ends here."""


@dataclass(slots=True, kw_only=True)
class FastbootBoard:
    """What the board is, and what is wrong with it."""

    disk: bytearray
    address: int = 0x4000000  # of free memory
    room: int = MEMORY
    most: int | None = 4 << 20  # max-download-size; None: it does not say
    partitions: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: start, end
    tells_sizes: bool = False
    size_form: str = "0x{:016x}"
    runner: str | None = "oem run"  # how it runs commands; None: not at all
    crc: str = "big"  # how `crc32` stores: big, little; verify: it has -v too; none: it has no crc32
    serial: str = "TEST-0001"
    handshake: bytes = HANDSHAKE
    # faults
    fail_flash: int = 0  # so many writes are refused
    drop_at: str = ""  # the connection ends at this command, or within the data of it
    drops: int = 1  # so often
    damages: int = 0  # so many writes put something else on the disk
    wrong_crcs: int = 0  # so many checksums of what was read from the disk are wrong
    lies: bool = False  # every command succeeds
    slow_s: float = 0.0  # a pause before each answer
    mute_at: str = ""  # this command is never answered

    commands: list[str] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)  # that were written
    environment: dict[str, str] = field(default_factory=dict)
    memory: bytearray = field(default_factory=bytearray)
    held: bytes = b""
    was_read: bool = False

    def __post_init__(self) -> None:
        self.memory = bytearray(b"\xa5" * self.room)

    def answer(self, command: str) -> Iterator[str]:
        """The answers to a command, the last one at the end."""
        if len(command) > LONGEST:
            yield "FAILtoo long"
            return
        word, _, rest = command.partition(":")
        if word == "getvar":
            found = self.variable(rest)
            yield "FAILVariable not implemented" if found is None else f"OKAY{found}"
        elif word == "flash":
            yield "INFOwriting"
            why = self.write(rest)
            yield f"FAIL{why}" if why else "OKAY"
        elif word == self.runner:
            yield "OKAY" if self.lies or self.run(rest) else "FAIL"
        elif word in ("reboot", "continue"):
            yield "OKAY"
        else:
            yield "FAILunrecognized command"

    def variable(self, name: str) -> str | None:
        known = {"version": "0.4", "product": "pretended", "serialno": self.serial}
        if self.most is not None:
            known["max-download-size"] = f"0x{self.most:08x}"
        if self.tells_sizes:
            known |= {f"partition-size:{name}": self.size_form.format(end - start) for name, (start, end)
                      in self.partitions.items()}
        return known.get(name)

    def place(self, partition: str) -> tuple[int, int] | None:
        """Where a partition lies; a raw one is defined by the environment, in sectors."""
        raw = self.environment.get(f"{RAW}{partition}")
        if raw is not None:
            start, size = (int(word, 0) * SECTOR for word in raw.split())
            return start, start + size
        return self.partitions.get(partition)

    def write(self, partition: str) -> str:
        """Write the file that is held; why not."""
        found = self.place(partition)
        if found is None:
            return "cannot find partition"
        if self.fail_flash:
            self.fail_flash -= 1
            return "flash write failure"
        start, end = found
        try:
            size, chunks = decode_sparse(self.held, name="file")
        except DocumentError as error:
            return str(error)[:200]
        if size > end - start:
            return "Request would exceed partition size!"
        for chunk in chunks:
            if chunk.kind is not Kind.DONT_CARE:
                span = chunk.end - chunk.start
                content = (chunk.content * (span // len(chunk.content)))[:span]
                self.disk[start + chunk.start:start + chunk.end] = content
        if self.damages:
            self.damages -= 1
            wrong = next(chunk for chunk in chunks if chunk.kind is not Kind.DONT_CARE)
            self.disk[start + wrong.start + 7] ^= 0x10
        self.files.append(self.held)
        return ""

    def run(self, line: str) -> bool:
        """What its U-Boot makes of a command."""
        words = line.split()
        known: dict[str, Callable[..., bool]] = {
            "true": lambda: True, "false": lambda: False, "mmc": self._mmc, "mw.b": self._fill, "crc32": self._crc,
            "itest.l": self._test, "setenv": self._set}
        try:
            return known[words[0]](*words[1:])
        except (KeyError, IndexError, ValueError, TypeError):
            return False

    def _mmc(self, what: str, *rest: str) -> bool:
        if what == "dev":
            return rest == ("0",)
        where, sector, count = (int(word, 16) for word in rest)
        if what != "read" or (sector + count) * SECTOR > len(self.disk):
            return False
        self._put(where, bytes(self.disk[sector * SECTOR:(sector + count) * SECTOR]))
        self.was_read = True
        return True

    def _fill(self, where: str, value: str, count: str) -> bool:
        self._put(int(where, 16), bytes([int(value, 16)]) * int(count, 16))
        return True

    def _crc(self, *words: str) -> bool:
        if self.crc == "none":
            return False
        verify = words[0] == "-v"
        if verify and self.crc != "verify":
            return False
        where, size, last = words[1:] if verify else words
        found = zlib.crc32(self._get(int(where, 16), int(size, 16)))
        if self.wrong_crcs and self.was_read:
            self.wrong_crcs -= 1
            found ^= 0x100
        if verify:
            return found == int(last, 16)
        self._put(int(last, 16), found.to_bytes(4, "little" if self.crc == "little" else "big"))
        return True

    def _test(self, left: str, operator: str, right: str) -> bool:
        if not left.startswith("*") or operator != "==":
            raise ValueError(left)
        return int.from_bytes(self._get(int(left[1:], 16), 4), "little") == int(right, 16)

    def _set(self, name: str, *value: str) -> bool:
        self.environment[name] = " ".join(value)
        return True

    def _at(self, where: int, size: int) -> int:
        if where < self.address or where + size > self.address + self.room:
            raise ValueError(f"{where:#x} is not free memory")
        return where - self.address

    def _put(self, where: int, content: bytes) -> None:
        at = self._at(where, len(content))
        self.memory[at:at + len(content)] = content

    def _get(self, where: int, size: int) -> bytes:
        at = self._at(where, size)
        return bytes(self.memory[at:at + size])


class FastbootServer:
    """Serves a board on a loopback port while the block runs, one connection after another."""

    def __init__(self, board: FastbootBoard) -> None:
        self.board = board
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="fastboot", daemon=True)

    @property
    def address(self) -> str:
        return f"tcp:127.0.0.1:{self.port}"

    def __enter__(self) -> FastbootServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for item in (self._listening, self._open):
            if item is not None:
                with contextlib.suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)
                item.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                self._open, _ = self._listening.accept()
            except OSError:
                return
            with self._open, contextlib.suppress(_DroppedError, OSError):
                self._open.sendall(self.board.handshake)
                if self._exactly(len(HANDSHAKE)) == HANDSHAKE:
                    while True:
                        self._one()

    def _one(self) -> None:
        """One command."""
        command = self._exactly(decode_length(self._exactly(LENGTH))).decode("ascii")
        self.board.commands.append(command)
        dropped = self.board.drop_at and command.startswith(self.board.drop_at) and self.board.drops > 0
        if dropped and not command.startswith("download:"):
            self.board.drops -= 1
            raise _DroppedError
        if self.board.mute_at and command.startswith(self.board.mute_at):
            return
        if command.startswith("download:"):
            self._take(int(command.partition(":")[2], 16), dropped=bool(dropped))
            return
        for text in self.board.answer(command):
            self._say(text)

    def _take(self, size: int, *, dropped: bool) -> None:
        if self.board.most is not None and size > self.board.most:
            self._say("FAILdata too large")
            return
        self._say(f"DATA{size:08x}")
        got = bytearray()
        while len(got) < size:
            got += self._exactly(decode_length(self._exactly(LENGTH)))
            if dropped and len(got) * 2 >= size:
                self.board.drops -= 1
                raise _DroppedError
        self.board.held = bytes(got)
        self._say("OKAY" if len(got) == size else "FAILReceived invalid data length")

    def _say(self, text: str) -> None:
        if self.board.slow_s:
            time.sleep(self.board.slow_s)
        assert self._open is not None
        packet = text.encode()
        self._open.sendall(encode_length(len(packet)) + packet)

    def _exactly(self, size: int) -> bytes:
        assert self._open is not None
        got = bytearray()
        while len(got) < size:
            more = self._open.recv(size - len(got))
            if not more:
                raise _DroppedError
            got += more
        return bytes(got)
