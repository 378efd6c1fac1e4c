"""What ELF programs need, from the one program that every test run has: Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.elf import decode_needs

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
