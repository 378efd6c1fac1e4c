"""The log of writes is read back as it was made; what contradicts itself is refused."""

from __future__ import annotations

import struct

import pytest

from imagekit.disk.writelog import DISCARD, FLUSH, FUA, MARK, Kind, LogEntry, decode_log, encode_entry, encode_super
from imagekit.errors import DocumentError

DISK = 64 * 512


def raw_entry(first: int, count: int, flags: int, length: int = 0) -> bytes:
    return struct.pack("<4Q", first, count, flags, length).ljust(512, b"\0")


def test_requests_come_back_in_their_order() -> None:
    written = LogEntry(kind=Kind.WRITE, first=7, count=2, at=2)
    log = encode_super(3) + encode_entry(written, b"x" * 1024) + encode_entry(LogEntry(kind=Kind.FLUSH)) + encode_entry(
        LogEntry(kind=Kind.DISCARD, first=3, count=5))
    assert decode_log(log, disk_size=DISK) == (
        written, LogEntry(kind=Kind.FLUSH), LogEntry(kind=Kind.DISCARD, first=3, count=5))


def test_fua_is_not_believed_and_a_mark_is_left_out() -> None:
    data = bytes(512)
    log = encode_super(3) + raw_entry(1, 1, FUA) + data + raw_entry(0, 0, MARK, 4) + raw_entry(2, 1, FLUSH) + data
    assert [entry.kind for entry in decode_log(log, disk_size=DISK)] == [Kind.WRITE, Kind.FLUSH, Kind.WRITE]


def test_larger_sectors_are_given_in_those_of_512_bytes() -> None:
    head = struct.pack("<3QI", 0x6A736677736872, 1, 1, 4096).ljust(4096, b"\0")
    log = head + struct.pack("<4Q", 2, 1, 0, 0).ljust(4096, b"\0") + bytes(4096)
    assert decode_log(log, disk_size=DISK) == (LogEntry(kind=Kind.WRITE, first=16, count=8, at=16),)


@pytest.mark.parametrize(("log", "why"), [
    (b"", "0 bytes"),
    (bytes(512), "magic 0x0"),
    (struct.pack("<3QI", 0x6A736677736872, 2, 0, 512).ljust(512, b"\0"), "version 2"),
    (struct.pack("<3QI", 0x6A736677736872, 1, 0, 513).ljust(512, b"\0"), "sectors have 513 bytes"),
    (encode_super(1), "ends before entry 1 of 1"),
    (encode_super(1) + raw_entry(0, 2, 0) + bytes(512), "ends within entry 1 of 1"),
    (encode_super(1) + raw_entry(63, 2, DISCARD), "reaches to byte 33280, the disk has 32768"),
    (encode_super(1) + raw_entry(0, 1, 16) + bytes(512), "flags 0x10"),
    (encode_super(1) + raw_entry(0, 1, 0, 9) + bytes(512), "length of 9"),
])
def test_log_that_contradicts_itself_is_refused(log: bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        decode_log(log, disk_size=DISK)
