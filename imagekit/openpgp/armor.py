"""ASCII armour (RFC 4880, 6.2): OpenPGP data as text.

    block = "-----BEGIN PGP kind-----"  header lines  empty line  base64 lines  ["=" CRC24]  "-----END PGP kind-----"

Text before, between and after blocks is skipped, as GnuPG skips it. The checksum is checked where there is one.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from imagekit.errors import DocumentError

_BEGIN = re.compile(rb"-----BEGIN PGP ([A-Z ]{1,40})-----[ \t\r]*\Z")
_CRC_START, _CRC_POLYNOMIAL = 0xB704CE, 0x864CFB  # 6.1


def is_armored(raw: bytes) -> bool:
    """Whether this is text with an OpenPGP block in it."""
    return b"-----BEGIN PGP " in raw


def dearmor(raw: bytes, *, kinds: tuple[str, ...], what: str) -> bytes:
    """The data of all blocks, one after the other.

    Raises:
        DocumentError: a block of another kind, one without an end, no base64, or a wrong checksum.
    """
    lines = iter(raw.split(b"\n"))
    found = []
    for line in lines:
        begun = _BEGIN.match(line)
        if begun is None:
            continue
        kind = begun[1].decode()
        if kind not in kinds:
            raise DocumentError(f"cannot decode {what}: it holds a PGP {kind}, expected a {kinds[0]}")
        found.append(_block(lines, b"-----END PGP " + begun[1] + b"-----", what))
    if not found:
        raise DocumentError(f"cannot decode {what}: it holds no PGP {kinds[0]}")
    return b"".join(found)


def _block(lines: Iterator[bytes], end: bytes, what: str) -> bytes:
    for line in lines:
        if not line.strip():
            break
        if b": " not in line:
            raise DocumentError(f"cannot decode {what}: its armour lacks the empty line before the data")
    coded, checksum = [], None
    for line in (line.strip() for line in lines):
        if line == end:
            break
        if line.startswith(b"="):
            checksum = _base64(line[1:], what)
        else:
            coded.append(line)
    else:
        raise DocumentError(f"cannot decode {what}: cut short, its armour has no end")
    content = _base64(b"".join(coded), what)
    if checksum is not None and checksum != crc24(content).to_bytes(3, "big"):
        raise DocumentError(f"cannot decode {what}: it is damaged, the checksum of its armour is wrong")
    return content


def _base64(text: bytes, what: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise DocumentError(f"cannot decode {what}: its armour is not base64") from error


def _crc_table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (_CRC_POLYNOMIAL if crc & 0x800000 else 0)
        rows.append(crc & 0xFFFFFF)
    return tuple(rows)


_CRC_TABLE = _crc_table()


def crc24(content: bytes) -> int:
    crc = _CRC_START
    for byte in content:
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC_TABLE[crc >> 16 ^ byte]
    return crc
