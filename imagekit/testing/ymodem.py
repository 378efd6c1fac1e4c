"""A YMODEM receiver that does what U-Boot's `loady` does, and what others do where they differ; and a line with faults.

Only whole files come out of it: blocks in their order, each with a checksum that holds, as many bytes as announced.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from imagekit.boot.ymodem import (
    ACK,
    CAN,
    CRC_MODE,
    EOT,
    FRAME,
    LENGTH,
    NAK,
    Header,
    decode_block,
    decode_header,
)
from imagekit.host.ports import SerialLine


class Kind(StrEnum):
    """What a line can do to a byte."""

    LOSE = "lose"
    DOUBLE = "double"
    CHANGE = "change"
    STALL = "stall"  # a write stops before it, and goes on when the other side has run out of patience


@dataclass(slots=True, kw_only=True)
class FaultyLine:
    """`SerialLine` that does something to the bytes at given places of what is written and of what is read."""

    under: SerialLine
    written: Mapping[int, Kind] = field(default_factory=dict)
    read_: Mapping[int, Kind] = field(default_factory=dict)
    stall_s: float = 0.12
    sent: int = 0
    heard: int = 0

    @property
    def name(self) -> str:
        return self.under.name

    @property
    def baud(self) -> int:
        return self.under.baud

    def write(self, content: bytes) -> None:
        for stalled, part in _faults(content, self.sent, self.written):
            if stalled:
                time.sleep(self.stall_s)
            self.under.write(part)
        self.sent += len(content)

    def read(self, timeout_s: float) -> bytes:
        got = self.under.read(timeout_s)
        changed = b"".join(part for _, part in _faults(got, self.heard, self.read_))
        self.heard += len(got)
        return changed

    def set_baud(self, baud: int) -> None:
        self.under.set_baud(baud)

    def close(self) -> None:
        self.under.close()


def _faults(content: bytes, at: int, faults: Mapping[int, Kind]) -> list[tuple[bool, bytes]]:
    """The content as it arrives, in runs; True: after a stall."""
    runs, run, stalled = [], bytearray(), False
    for index, byte in enumerate(content):
        fault = faults.get(at + index)
        if fault is Kind.STALL:
            runs.append((stalled, bytes(run)))
            run, stalled = bytearray(), True
        if fault is not Kind.LOSE:
            run.append(byte ^ 0x5A if fault is Kind.CHANGE else byte)
        if fault is Kind.DOUBLE:
            run.append(byte)
    return [*runs, (stalled, bytes(run))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a receiver behaves. Times are seconds."""

    asks_again: bool = False  # a second C after the header, as the protocol's reference has it
    refuses_first_end: bool = False  # NAK to the first EOT, likewise
    refusal: bytes = CRC_MODE  # U-Boot says C where others say NAK
    byte_s: float = 0.1
    tries: int = 200


class Receiver:
    """Receives one file."""

    def __init__(self, line: SerialLine, manner: Manner) -> None:
        self._line, self._manner = line, manner
        self._ahead: deque[int] = deque()
        self.repeated = 0  # blocks that came twice

    def receive(self) -> tuple[Header, bytes] | None:
        """The file; None: it was cancelled, or never came whole."""
        header = self._header()
        return None if header is None else self._content(header)

    def _header(self) -> Header | None:
        for _ in range(self._manner.tries):
            self._line.write(CRC_MODE)
            found = self._frame()
            if found == CAN:
                return None
            block = decode_block(found)
            header = decode_header(block[1]) if block and block[0] == 0 else None
            if header is not None:
                self._line.write(ACK + (CRC_MODE if self._manner.asks_again else b""))
                return header
        return None

    def _content(self, header: Header) -> tuple[Header, bytes] | None:
        content, number, ends = bytearray(), 1, 0
        for _ in range(self._manner.tries + header.size // 128):
            found = self._frame()
            if found == CAN:
                return None
            block = decode_block(found)
            if block and block[0] == number & 0xFF:
                content += block[1]
                number += 1
                self._line.write(ACK)
            elif block and block[0] == (number - 1) & 0xFF:
                self.repeated += 1
                self._line.write(ACK)
            elif found == EOT and len(content) >= header.size:
                ends += 1
                if self._manner.refuses_first_end and ends == 1:
                    self._line.write(NAK)
                    continue
                self._line.write(ACK + CRC_MODE)
                self._last()
                return header, bytes(content[:header.size])
            else:
                self._line.write(self._manner.refusal)
        return None

    def _last(self) -> None:
        """The header that ends it all; it may be missed. An end that is repeated is acknowledged again."""
        for _ in range(8):
            found = self._frame()
            if found == EOT:
                self._line.write(ACK + CRC_MODE)
            elif decode_block(found) is not None:
                self._line.write(ACK)
                return

    def _frame(self) -> bytes:
        """A block, EOT, or CAN; what is cut short or none of these is given as it came."""
        first = self._byte()
        if first == CAN and self._byte() == CAN:
            return CAN
        length = LENGTH.get(first)
        if length is None:
            if first not in (b"", EOT):
                while self._byte():  # noise: what follows belongs to it
                    pass
            return first
        frame = bytearray(first)
        while len(frame) < length + FRAME and (byte := self._byte()):
            frame += byte
        if decode_block(bytes(frame)) is None:
            while self._byte():
                pass
        return bytes(frame)

    def _byte(self) -> bytes:
        if not self._ahead:
            self._ahead.extend(self._line.read(self._manner.byte_s))
        return bytes([self._ahead.popleft()]) if self._ahead else b""
