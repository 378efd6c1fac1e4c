"""What an ELF program needs to start: its machine, its loader and its libraries.

Decodes the few tables that say so, of little-endian files of 64 or 32 bits, and nothing else; the machine, of every
file. Source: System V ABI, chapters 4 (object files) and 5 (program loading): the ELF header, program headers PT_LOAD,
PT_DYNAMIC, PT_INTERP; entries DT_NEEDED, DT_STRTAB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from imagekit.errors import DocumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Width:
    """The tables of one width: their layouts, and which fields of a program header are offset, address and size."""

    header: struct.Struct
    program: struct.Struct
    dynamic: struct.Struct
    fields: tuple[int, int, int]


_WIDTHS = {
    1: _Width(header=struct.Struct("<4sBBB9xHHIIIIIHHHHHH"), program=struct.Struct("<8I"),
              dynamic=struct.Struct("<iI"), fields=(1, 2, 4)),
    2: _Width(header=struct.Struct("<4sBBB9xHHIQQQIHHHHHH"), program=struct.Struct("<IIQQQQQQ"),
              dynamic=struct.Struct("<qQ"), fields=(2, 3, 5)),
}
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5

NAME_MOST = 4096  # bytes of a library's name
HEAD_SIZE = 20  # bytes that tell the machine

# Machine, bits and byte order (`e_machine`, EI_CLASS, EI_DATA) -> Debian's name of the architecture.
_ARCHITECTURES = {(62, 2, 1): "amd64", (3, 1, 1): "i386", (183, 2, 1): "arm64", (40, 1, 1): "armhf",
                  (243, 2, 1): "riscv64", (21, 2, 1): "ppc64el", (22, 2, 2): "s390x"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The loader's path (None for a static program or a library) and the names of the libraries, in order."""

    interpreter: str | None
    libraries: tuple[str, ...]


def decode_architecture(head: bytes) -> str | None:
    """Which of Debian's architectures a file is for, by its first `HEAD_SIZE` bytes; None for no ELF or another."""
    if head[:4] != b"\x7fELF" or len(head) < HEAD_SIZE:
        return None
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _ARCHITECTURES.get((machine, head[4], head[5]))


def decode_needs(content: bytes, *, name: str) -> Needs:
    """Raises: DocumentError: not an ELF file of this kind, or its tables lead outside of it."""
    try:
        return _decode(content, name)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise DocumentError(f"cannot read {name}: broken ELF file: {error}") from error


def _decode(content: bytes, name: str) -> Needs:
    width = _WIDTHS.get(content[4]) if content[:4] == b"\x7fELF" and content[5:6] == b"\x01" else None
    if width is None:
        raise DocumentError(f"cannot read {name}: not a little-endian ELF file of 64 or 32 bits")
    header = width.header.unpack_from(content)
    offset, size, count = header[8], header[12], header[13]
    if count and size != width.program.size:
        raise ValueError(f"program headers of {size} bytes")
    rows = [width.program.unpack_from(content, offset + number * size) for number in range(count)]
    programs = [(row[0], *(row[field] for field in width.fields)) for row in rows]
    loads = [(address, start, length) for kind, start, address, length in programs if kind == PT_LOAD]
    if sum(kind == PT_DYNAMIC for kind, *_ in programs) > 1:
        raise ValueError("more than one dynamic table")
    interpreter, libraries = None, []
    for kind, start, _, length in programs:
        if kind == PT_INTERP:
            interpreter = content[start:start + length].rstrip(b"\0").decode()
        elif kind == PT_DYNAMIC:
            entries = [width.dynamic.unpack_from(content, at)
                       for at in range(start, start + length, width.dynamic.size)]
            strings = next((_file_offset(value, loads) for tag, value in entries if tag == DT_STRTAB), 0)
            for tag, value in entries:
                if tag == DT_NULL:
                    break
                if tag == DT_NEEDED:
                    at = strings + value
                    libraries.append(content[at:content.index(b"\0", at, at + NAME_MOST)].decode())
    return Needs(interpreter=interpreter, libraries=tuple(libraries))


def _file_offset(address: int, loads: list[tuple[int, int, int]]) -> int:
    for virtual, offset, length in loads:
        if virtual <= address < virtual + length:
            return address - virtual + offset
    raise ValueError(f"address {address:#x} is in no segment")
