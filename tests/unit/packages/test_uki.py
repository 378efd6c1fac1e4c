"""Unified kernel images, read section by section."""

from __future__ import annotations

import struct

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.uki import Loader, decode_uki, efi_architecture, efi_loader


def image(sections: list[tuple[bytes, bytes]], *, padding: int = 0, machine: int = 0x8664) -> bytes:
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, 0, 0)
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


@pytest.mark.parametrize(("machine", "architecture"), [(0x8664, "amd64"), (0xAA64, "arm64"), (0x1C2, "armhf"),
                                                       (0x200, None)])
def test_program_is_for_its_machine(machine: int, architecture: str | None) -> None:
    assert efi_architecture(image([], machine=machine), name="x.efi") == architecture


def test_other_file_is_for_no_machine() -> None:
    for raw in (b"", b"MZ", b"MZ" * 100, b"\x7fELF"):
        with pytest.raises(DocumentError):
            efi_architecture(raw, name="x.efi")


def test_loader_names_itself_and_its_version() -> None:
    mark = b"#### LoaderInfo: systemd-boot 257.13-1~deb13u1 ####"
    assert efi_loader(image([(b".sdmagic", mark)])) == Loader(name="systemd-boot", version="257.13-1~deb13u1")
    assert efi_loader(UKI) is None
