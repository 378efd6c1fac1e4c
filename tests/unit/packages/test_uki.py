"""Unified kernel images, read section by section."""

from __future__ import annotations

import struct

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.uki import decode_uki


def image(sections: list[tuple[bytes, bytes]], *, padding: int = 0) -> bytes:
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, 0, 0)
    at = 0x40 + 4 + len(coff) + 40 * len(sections)
    table, body = b"", b""
    for name, content in sections:
        raw = content + bytes(padding)
        table += struct.pack("<8sIIIIIIHHI", name, len(content), 0, len(raw), at + len(body), 0, 0, 0, 0, 0)
        body += raw
    return head + b"PE\0\0" + coff + table + body


UKI = image([(b".linux", b"kernel"), (b".initrd", b"ramdisk"), (b".uname", b"6.12")], padding=9)


def test_sections_are_cut_to_their_virtual_size() -> None:
    uki = decode_uki(UKI, name="kernel.efi")
    assert uki.names == (".linux", ".initrd", ".uname")
    assert uki.section(".initrd") == b"ramdisk"
    with pytest.raises(DocumentError, match=r"no section \.cmdline"):
        uki.section(".cmdline")


def test_image_without_a_kernel_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"no section \.linux"):
        decode_uki(image([(b".text", b"x")]), name="stub")


def test_every_truncation_is_refused() -> None:
    for length in range(len(UKI)):
        with pytest.raises(DocumentError):
            decode_uki(UKI[:length], name="kernel.efi")


def test_absurd_number_of_sections_is_refused() -> None:
    broken = bytearray(UKI)
    broken[0x40 + 6:0x40 + 8] = b"\xff\xff"
    with pytest.raises(DocumentError, match="65535 sections"):
        decode_uki(bytes(broken), name="kernel.efi")
