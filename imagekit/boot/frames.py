"""Health messages between the lines of a console, for machines that have nothing but a UART.

Decides: how a message is cut into lines that survive what else is printed there. The kernel and systemd write to the
same line at any moment, so every piece is short, says where it belongs, and carries a checksum: a mangled one is just
another line of the console, and whoever waits for the message asks again (docs/reference/health-protocol.md).

Grammar, one frame a line; CRC is the CRC-32, in 8 hexadecimal digits, of everything between it and the last `~`:

    "imagekit~" CRC " " MESSAGE " " INDEX "/" COUNT " " TEXT "~"

MESSAGE is the CRC-32 of the whole message, INDEX counts from 1, TEXT is at most `TEXT_MAX` bytes of the message. What
comes before a frame on its line is not looked at.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from imagekit.boot.health import LINE_MAX

TEXT_MAX = 120
COUNT_MAX = -(-LINE_MAX // TEXT_MAX)
_START = b"imagekit~"
_BODY = re.compile(rb"([0-9a-f]{8}) (([0-9a-f]{8}) ([1-9][0-9]{0,2})/([1-9][0-9]{0,2}) (.*))~\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One piece of a message; `index` from 1."""

    message: bytes
    index: int
    count: int
    text: bytes


def encode_frames(message: bytes) -> bytes:
    """The lines of a message, which is one line of the health protocol."""
    message = message.rstrip(b"\n")
    pieces = [message[at:at + TEXT_MAX] for at in range(0, len(message), TEXT_MAX)]
    lines = []
    for index, piece in enumerate(pieces, 1):
        body = b"%s %d/%d %s" % (_digits(message), index, len(pieces), piece)
        lines.append(b"%s%s %s~\n" % (_START, _digits(body), body))
    return b"".join(lines)


def decode_frame(line: bytes) -> Frame | None:
    """The whole frame that a line ends with, None where there is none."""
    at = line.find(_START)
    while at >= 0:
        match = _BODY.match(line, at + len(_START))
        if match and _digits(match[2]) == match[1]:
            frame = Frame(message=match[3], index=int(match[4]), count=int(match[5]), text=match[6])
            return frame if frame.index <= frame.count <= COUNT_MAX and len(frame.text) <= TEXT_MAX else None
        at = line.find(_START, at + 1)
    return None


class Joiner:
    """Puts messages together; frames of a message that is said again fill the gaps of the first time."""

    def __init__(self) -> None:
        self._told = (b"", 0)
        self._pieces: dict[int, bytes] = {}

    def add(self, frame: Frame) -> bytes | None:
        """The message, without a newline, once it is whole."""
        if self._told != (frame.message, frame.count):
            self._told, self._pieces = (frame.message, frame.count), {}
        self._pieces[frame.index] = frame.text
        if len(self._pieces) < frame.count:
            return None
        whole = b"".join(self._pieces[index] for index in range(1, frame.count + 1))
        self._pieces = {}
        return whole if _digits(whole) == frame.message else None


def _digits(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)
