"""EFI programs: what they are for, and, of unified kernel images, the sections that the boot stub looks for.

Decodes only; images are put together by the locked `ukify`. Sources: PE format (Microsoft, "PE Format", sections
"Machine Types", "COFF File Header" and "Section Table"); UAPI.5 Unified Kernel Image; systemd-boot's own mark,
`#### LoaderInfo: systemd-boot VERSION ####` (systemd 257 `src/boot/boot.c`).

    DOS header, at 0x3c the offset of "PE\\0\\0"; COFF header[20]; optional header; section header[40] *
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from imagekit.errors import DocumentError

_COFF = struct.Struct("<HHIIIHH")
_SECTION = struct.Struct("<8sIIIIIIHHI")
_LOADER = re.compile(rb"#### LoaderInfo: ([!-~]{1,40}) ([!-~]{1,60}) ####")
MAX_SECTIONS = 96

# COFF machine -> Debian's name of the architecture
_MACHINES = {0x8664: "amd64", 0x14C: "i386", 0xAA64: "arm64", 0x1C2: "armhf", 0x1C4: "armhf", 0x5064: "riscv64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Uki:
    """Section name -> content, cut to its virtual size as the stub sees it, in file order."""

    sections: tuple[tuple[str, bytes], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.sections)

    def section(self, name: str) -> bytes:
        """Raises: DocumentError: there is no such section."""
        for known, content in self.sections:
            if known == name:
                return content
        raise DocumentError(f"cannot read the kernel image: it has no section {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Which boot loader a program says that it is."""

    name: str
    version: str


def efi_architecture(content: bytes, *, name: str) -> str | None:
    """Which of Debian's architectures an EFI program is for, by its first bytes; None for another.

    Raises:
        DocumentError: not a PE image.
    """
    return _MACHINES.get(_headers(content, name)[1])


def efi_loader(content: bytes) -> Loader | None:
    """What the program says of itself; None: no loader that does."""
    found = _LOADER.search(content)
    return Loader(name=found[1].decode(), version=found[2].decode()) if found else None


def _headers(content: bytes, name: str) -> tuple[int, int, tuple[int, ...]]:
    """Where the COFF header begins, the machine, and all fields of that header."""
    try:
        start = struct.unpack_from("<I", content, 0x3C)[0] if content[:2] == b"MZ" else len(content)
        if content[start:start + 4] != b"PE\0\0":
            raise DocumentError(f"cannot read {name}: not a PE image")
        coff = _COFF.unpack_from(content, start + 4)
    except struct.error as error:
        raise DocumentError(f"cannot read {name}: cut short in its headers") from error
    return start + 4, coff[0], coff


def decode_uki(content: bytes, *, name: str) -> Uki:
    """Raises: DocumentError: not a PE image, cut short, or without a kernel."""
    start, _, coff = _headers(content, name)
    table = start + _COFF.size + coff[5]
    if coff[1] > MAX_SECTIONS:
        raise DocumentError(f"cannot read {name}: {coff[1]} sections, at most {MAX_SECTIONS} are allowed")
    try:
        headers = [_SECTION.unpack_from(content, table + number * _SECTION.size) for number in range(coff[1])]
    except struct.error as error:
        raise DocumentError(f"cannot read {name}: cut short in its headers") from error
    if sum(header[3] for header in headers) > len(content):
        raise DocumentError(f"cannot read {name}: its sections have more bytes than the file, or it is cut short")
    sections = []
    for raw_name, virtual_size, _, raw_size, offset, *_ in headers:
        label = raw_name.rstrip(b"\0").decode("ascii", "replace")
        if offset + raw_size > len(content):
            raise DocumentError(f"cannot read {name}: cut short: section {label} reaches byte {offset + raw_size}, "
                                f"the file has {len(content)}")
        sections.append((label, content[offset:offset + min(virtual_size, raw_size)]))
    uki = Uki(sections=tuple(sections))
    if ".linux" not in uki.names:
        raise DocumentError(f"cannot read {name}: no unified kernel image: it has no section .linux")
    return uki
