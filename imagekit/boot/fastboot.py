"""fastboot's words, as bytes: commands to a boot loader, and what it answers.

Decides what an answer means, where a boot loader is, and how commands are framed over TCP; what is said in which order
is `imagekit.flash.fastboot`'s.

Source: AOSP platform/system/core fastboot/README.md (commands, answers, "TCP Protocol v1"); U-Boot
doc/android/fastboot.rst (`oem run`, raw partitions).

    command = ascii, at most 64 bytes          answer = ("OKAY" / "FAIL" / "DATA" / "INFO" / "TEXT") text
    over TCP: both begin with "FB01"; then      message = length content    ; length: big-endian u64
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum

from imagekit.errors import UsageError

PORT = 5554
HANDSHAKE = b"FB01"
LENGTH = 8  # bytes before each message over TCP
LONGEST = 64  # of a command: U-Boot takes no more
MOST_ANSWER = 4096  # AOSP's documents say 256
USB_CLASS = (0xFF, 0x42, 0x03)  # class, subclass and protocol of the interface

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<name>[^:\[\]/\s]+))(?::(?P<port>[0-9]{1,5}))?")
_USB_PORT = re.compile(r"[0-9]+-[0-9]+(?:\.[0-9]+)*")
_HEX = re.compile(r"[0-9a-f]{1,16}")
_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,35}")


class Word(StrEnum):
    """The first four letters of an answer."""

    OKAY = "OKAY"
    FAIL = "FAIL"
    DATA = "DATA"
    INFO = "INFO"
    TEXT = "TEXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer."""

    word: Word
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """A boot loader on a network."""

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbAddress:
    """A board on a cable; what is empty is not asked for."""

    serial: str = ""
    port: str = ""

    def __str__(self) -> str:
        return ":".join(("usb", *(text for text in (self.port, self.serial) if text)))


def decode_reply(packet: bytes) -> Reply | None:
    """What an answer says; None: it is none."""
    head, rest = packet[:4], packet[4:]
    if len(packet) > MOST_ANSWER or head not in {word.encode() for word in Word}:
        return None
    text = rest.rstrip(b"\0").decode("utf-8", "replace")
    return Reply(word=Word(head.decode()), text="".join(sign if sign.isprintable() else " " for sign in text))


def encode_length(size: int) -> bytes:
    """What stands before a message of `size` bytes over TCP."""
    return struct.pack(">Q", size)


def decode_length(head: bytes) -> int:
    return int(struct.unpack(">Q", head)[0])


def parse_address(text: str) -> TcpAddress | UsbAddress:
    """`tcp:HOST`, `tcp:HOST:PORT`, `tcp:[IPV6]:PORT`, `usb`, `usb:SERIAL`, `usb:1-1.4` (a port), `usb:1-1.4:SERIAL`.

    Raises:
        UsageError: it is none of these.
    """
    kind, _, rest = text.partition(":")
    if kind == "tcp" and (found := _HOST.fullmatch(rest)):
        port = int(found["port"] or PORT)
        if 0 < port < 1 << 16:
            return TcpAddress(host=found["six"] or found["name"], port=port)
    if kind == "usb" and (text == "usb" or (rest and rest.isascii() and rest.isprintable())):
        place, named, serial = rest.partition(":")
        if not _USB_PORT.fullmatch(place):
            return UsbAddress(serial=rest)
        if serial or not named:
            return UsbAddress(port=place, serial=serial)
    raise UsageError(f"cannot use {text!r}: it is no place of a fastboot device",
                     hint="tcp:HOST, tcp:HOST:PORT, usb, usb:SERIAL, usb:1-1.4 (a port), or usb:1-1.4:SERIAL (both)")


def check_partition(name: str) -> str:
    """A name that a partition may have. Raises: UsageError: it is none."""
    if not _PARTITION.fullmatch(name):
        raise UsageError(f"cannot use partition {name!r}: a name has letters, digits, '_', '.' and '-', at most 36")
    return name


def parse_number(text: str) -> int | None:
    """A number as boot loaders write them: `0x10000000`, or decimal; None: it is none, or negative."""
    try:
        found = int(text.strip(), 0)
    except ValueError:
        return None
    return found if found >= 0 else None


def parse_size(text: str) -> int | None:
    """A partition's size in bytes: hexadecimal, also where no `0x` says so (AOSP fastboot.cpp, get_partition_size);
    None: it is none.
    """
    digits = text.strip().lower().removeprefix("0x")
    return int(digits, 16) if _HEX.fullmatch(digits) else None
