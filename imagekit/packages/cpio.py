"""The initial RAM disk's archive: cpio in the "newc" form.

Encodes only. Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. Inode numbers count up from 1,
times are zero, everything belongs to root, so equal files give equal bytes.

    archive = member* trailer        each header and content padded to 4 bytes, the whole to 512
    member  = "070701" 13 fields of 8 hexadecimal digits, name NUL, content
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO

REGULAR, DIRECTORY, LINK, CHARACTER = 0o100000, 0o040000, 0o120000, 0o020000
TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpioEntry:
    """A member: `kind` is one of the four above; a link's content is its target."""

    path: str
    kind: int = REGULAR
    mode: int = 0o644
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def encode_cpio(entries: Iterable[CpioEntry]) -> bytes:
    """The archive of `entries` in their order, with every missing parent folder (mode 0755) before its content."""
    out = BytesIO()
    known: set[str] = set()
    inode = 0
    for entry in entries:
        parts = entry.path.split("/")
        parents = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        wanted = [CpioEntry(path=path, kind=DIRECTORY, mode=0o755) for path in parents if path not in known]
        for member in (*wanted, entry):
            inode += 1
            known.add(member.path)
            _write(out, member, inode)
    _write(out, CpioEntry(path=TRAILER, kind=0, mode=0), 0)
    out.write(bytes(-out.tell() % 512))
    return out.getvalue()


def _write(out: BytesIO, entry: CpioEntry, inode: int) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if entry.kind == DIRECTORY else 1
    fields = (inode, entry.kind | entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    out.write(b"070701" + b"".join(b"%08X" % value for value in fields) + name)
    out.write(bytes(-out.tell() % 4))
    out.write(entry.content)
    out.write(bytes(-out.tell() % 4))
