"""What ELF programs need, from the one program that every test run has: Python."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.elf import HEAD_SIZE, Needs, decode_architecture, decode_needs

CONTENT = Path(sys.executable).resolve().read_bytes()


def test_loader_and_libraries_of_a_program_are_found() -> None:
    needs = decode_needs(CONTENT, name="python")
    assert needs.interpreter is not None and Path(needs.interpreter).exists()
    assert "libc.so.6" in needs.libraries


@pytest.mark.parametrize("length", [0, 3, 15, 16, 40, 63, 64, 100, 500])
def test_truncated_program_is_refused(length: int) -> None:
    with pytest.raises(DocumentError):
        decode_needs(CONTENT[:length], name="python")


def test_flipped_header_bytes_never_crash() -> None:
    for at in range(1024):
        broken = bytearray(CONTENT[:1 << 16])
        broken[at] ^= 0xFF
        try:
            decode_needs(bytes(broken), name="python")
        except DocumentError:
            continue


def test_other_file_is_refused() -> None:
    with pytest.raises(DocumentError, match="not a little-endian ELF file of 64 or 32 bits"):
        decode_needs(b"#!/bin/sh\n" + bytes(100), name="script")


@pytest.mark.parametrize(("bits", "order", "machine", "expected"), [
    (2, 1, 62, "amd64"), (1, 1, 3, "i386"), (2, 1, 183, "arm64"), (1, 1, 40, "armhf"), (2, 1, 243, "riscv64"),
    (2, 1, 21, "ppc64el"), (2, 2, 22, "s390x"), (2, 1, 247, None), (1, 1, 62, None)])
def test_architecture_is_told_by_the_head(bits: int, order: int, machine: int, expected: str | None) -> None:
    head = b"\x7fELF" + bytes([bits, order]) + bytes(12) + machine.to_bytes(2, "little" if order == 1 else "big")
    assert decode_architecture(head) == expected
    assert decode_architecture(head[:-1]) is None and decode_architecture(b"#!" + head) is None
    assert len(head) == HEAD_SIZE


def small_program() -> bytes:
    """A 32-bit program for ARM: one segment at 0x10000 that holds the whole file."""
    strings, loader = b"\0libc.so.6\0libm.so.6\0", b"/lib/ld-linux-armhf.so.3\0"
    table, start = 52, 52 + 3 * 32
    dynamic = struct.pack("<iIiIiIiI", 1, 1, 1, 11, 5, 0x10000 + start + 32, 0, 0)
    body = dynamic + strings + loader
    size = start + len(body)
    at = start + len(dynamic) + len(strings)
    rows = [(1, 0, 0x10000, size), (2, start, 0x10000 + start, len(dynamic)), (3, at, 0x10000 + at, len(loader))]
    headers = b"".join(struct.pack("<8I", kind, offset, address, address, length, length, 4, 4)
                       for kind, offset, address, length in rows)
    return struct.pack("<4sBBB9xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 2, 0x28, 1, 0, table, 0, 0, 52, 32, 3, 0, 0,
                       0) + headers + body


def test_program_of_32_bits_is_read_too() -> None:
    needs = decode_needs(small_program(), name="dmsetup")
    assert needs == Needs(interpreter="/lib/ld-linux-armhf.so.3", libraries=("libc.so.6", "libm.so.6"))


def test_big_endian_program_is_refused() -> None:
    broken = bytearray(small_program())
    broken[5] = 2
    with pytest.raises(DocumentError, match="not a little-endian"):
        decode_needs(bytes(broken), name="dmsetup")
