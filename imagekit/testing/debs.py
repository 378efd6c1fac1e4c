"""Debian packages made by hand, right ones and wrong ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable
from pathlib import Path

import zstandard

from imagekit.packages.lockfile import Part

MTIME = 1_700_000_000

COMPRESSORS = {
    "": lambda raw: raw,
    ".gz": lambda raw: gzip.compress(raw, mtime=0),
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def regular(path: str, content: bytes = b"", *, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    """A file for `build_deb`."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), mode
    return info, content


def link(path: str, target: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic or hard link for `build_deb`."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, target
    return info, b""


def folder(path: str, *, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """A folder for `build_deb`."""
    info = tarfile.TarInfo(path)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info, b""


def build_tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def build_ar(members: Iterable[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, content in members:
        out += f"{name:<16}{MTIME:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        out += b"\n" * (len(content) % 2)
    return out


def build_deb(entries: Iterable[tuple[tarfile.TarInfo, bytes]] = (), *, name: str = "hello", version: str = "1.0-1",
              compression: str = ".xz", control: str | None = None) -> bytes:
    """A package with the files of `entries`."""
    text = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n" if control is None else control
    pack = COMPRESSORS[compression]
    return build_ar([("debian-binary", b"2.0\n"),
                     (f"control.tar{compression}", pack(build_tar([regular("./control", text.encode())]))),
                     (f"data.tar{compression}", pack(build_tar(entries)))])


def offer(mirror: Path, content: bytes, *, name: str = "hello", version: str = "1.0-1") -> Part:
    """Put a package into the pool of the mirror folder; the part that a lock would have for it."""
    filename = f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb"
    path = mirror / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Part(name=name, version=version, architecture="amd64", archive="debian", filename=filename,
                size=len(content), sha256=hashlib.sha256(content).hexdigest(),
                sha512=hashlib.sha512(content).hexdigest(), source=name, source_version=version)
