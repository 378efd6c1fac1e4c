"""What ELF programs need, from the one program that every test run has: Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.elf import HEAD_SIZE, decode_architecture, decode_needs

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
    with pytest.raises(DocumentError, match="not a 64-bit"):
        decode_needs(b"#!/bin/sh\n" + bytes(100), name="script")


@pytest.mark.parametrize(("bits", "order", "machine", "expected"), [
    (2, 1, 62, "amd64"), (1, 1, 3, "i386"), (2, 1, 183, "arm64"), (1, 1, 40, "armhf"), (2, 1, 243, "riscv64"),
    (2, 1, 21, "ppc64el"), (2, 2, 22, "s390x"), (2, 1, 247, None), (1, 1, 62, None)])
def test_architecture_is_told_by_the_head(bits: int, order: int, machine: int, expected: str | None) -> None:
    head = b"\x7fELF" + bytes([bits, order]) + bytes(12) + machine.to_bytes(2, "little" if order == 1 else "big")
    assert decode_architecture(head) == expected
    assert decode_architecture(head[:-1]) is None and decode_architecture(b"#!" + head) is None
    assert len(head) == HEAD_SIZE
