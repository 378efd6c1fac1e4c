"""Read Debian binary packages: the outer archive, the control data, the file tree.

Decides what is a well-formed package (deb(5), format 2.0: an ar archive of `debian-binary`, `control.tar.*`,
`data.tar.*`) and which paths of it are safe to use. Where a file goes is the caller's. Nothing is executed; maintainer
scripts are not even looked at.

    ar      = "!<arch>\\n" member*
    member  = name[16] mtime[12] uid[6] gid[6] mode[8] size[10] "`\\n" content [padding to an even offset]
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

import zstandard

from imagekit.errors import DocumentError

AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
MAX_CONTROL = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of the outer archive: where its content lies in the stream."""

    name: str
    mtime: int  # seconds since 1970
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What a package says of itself (Debian Policy 5.3)."""

    package: str
    version: str
    architecture: str
    source: str
    source_version: str
    fields: Mapping[str, str]


def decode_ar(stream: BinaryIO, *, name: str) -> tuple[Member, ...]:
    """The members of an ar archive.

    Raises:
        DocumentError: not an archive, or cut short.
    """
    stream.seek(0, io.SEEK_END)
    size = stream.tell()
    stream.seek(0)
    if stream.read(len(AR_MAGIC)) != AR_MAGIC:
        raise DocumentError(f"cannot read {name}: not a Debian package: no ar archive")
    members: list[Member] = []
    at = len(AR_MAGIC)
    while at < size:
        stream.seek(at)
        header = stream.read(AR_HEADER)
        if len(header) != AR_HEADER or header[58:] != b"`\n":
            raise DocumentError(f"cannot read {name}: broken archive header at byte {at}")
        mtime, length = _number(header[16:28], name, at), _number(header[48:58], name, at)
        start = at + AR_HEADER
        if start + length > size:
            raise DocumentError(f"cannot read {name}: cut short: a member reaches byte {start + length}, "
                                f"the file has {size}")
        member = header[:16].decode("ascii", "replace").rstrip(" ").removesuffix("/")
        members.append(Member(name=member, mtime=mtime, start=start, end=start + length))
        at = start + length + length % 2
    return tuple(members)


def _number(text: bytes, name: str, at: int) -> int:
    stripped = text.strip()
    if not stripped.isdigit():
        raise DocumentError(f"cannot read {name}: broken archive header at byte {at}")
    return int(stripped)


class Deb:
    """An open Debian package over a seekable binary stream, which stays the caller's to close."""

    def __init__(self, stream: BinaryIO, *, name: str) -> None:
        self.name = name
        self._stream = stream
        self._members = decode_ar(stream, name=name)
        if not self._members or self._members[0].name != "debian-binary":
            raise DocumentError(f"cannot read {name}: not a Debian package: no debian-binary")
        self.mtime = max(member.mtime for member in self._members)  # when it was built; part of the archive's bytes

    def control(self) -> Control:
        """The control data. Raises: DocumentError: missing or malformed."""
        with self._tar("control.tar") as archive:
            for entry in archive:
                if entry.name.removeprefix("./") != "control" or not entry.isreg():
                    continue
                if entry.size > MAX_CONTROL:
                    raise DocumentError(f"cannot read {self.name}: its control file has {entry.size} bytes")
                content = archive.extractfile(entry)
                assert content is not None
                stanzas = tuple(parse_stanzas(content.read().decode("utf-8", "replace"), name=self.name))
                if len(stanzas) != 1:
                    raise DocumentError(f"cannot read {self.name}: its control file has {len(stanzas)} paragraphs")
                return control_of(stanzas[0], name=self.name)
        raise DocumentError(f"cannot read {self.name}: no control file")

    def files(self) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
        """Every entry of the file tree in archive order, names without `./`, with a stream for regular files.

        Raises:
            DocumentError: a path that leaves the tree, a broken archive.
        """
        with self._tar("data.tar") as archive:
            try:
                for entry in archive:
                    entry.name = safe_path(entry.name, name=self.name)
                    if entry.islnk():
                        entry.linkname = safe_path(entry.linkname, name=self.name)
                    yield entry, cast(BinaryIO, archive.extractfile(entry)) if entry.isreg() else None
            except (tarfile.TarError, lzma.LZMAError, zstandard.ZstdError, EOFError, gzip.BadGzipFile) as error:
                raise DocumentError(f"cannot read {self.name}: broken data archive: {error}") from error

    def _tar(self, stem: str) -> tarfile.TarFile:
        for member in self._members:
            if member.name == stem or member.name.startswith(f"{stem}."):
                window = _Window(self._stream, member.start, member.end)
                try:
                    return tarfile.open(fileobj=_decompress(window, member.name, self.name), mode="r|")
                except (tarfile.TarError, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError) as error:
                    raise DocumentError(f"cannot read {self.name}: broken {member.name}: {error}") from error
        raise DocumentError(f"cannot read {self.name}: no {stem}")


class _Window(io.RawIOBase):
    """The bytes `[start, end)` of a stream as a stream of their own."""

    def __init__(self, stream: BinaryIO, start: int, end: int) -> None:
        self._stream, self._at, self._end = stream, start, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the typeshed buffer type is not public
        self._stream.seek(self._at)
        piece = self._stream.read(min(len(buffer), self._end - self._at))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _decompress(window: _Window, member: str, name: str) -> BinaryIO:
    raw = cast(BinaryIO, io.BufferedReader(window, 1 << 18))
    suffix = member.rpartition(".")[2]
    if suffix == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if suffix == "zst":
        return cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
    if suffix == "gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if suffix == "tar":
        return raw
    raise DocumentError(f"cannot read {name}: {member} is compressed in a way that is not known here: "
                        "xz, zst, gz or none are")


def safe_path(path: str, *, name: str) -> str:
    """`path` relative to the root, without `./`; the root itself is the empty string.

    Raises:
        DocumentError: it is absolute, climbs with `..`, or has a NUL or newline.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path or "\n" in path:
        raise DocumentError(f"cannot read {name}: it has the path {path!r}, which leaves the tree")
    return "/".join(parts)


def parse_stanzas(text: str, *, name: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a control file (Debian Policy 5.1), continuation lines joined by newlines.

    Raises:
        DocumentError: a line that is neither a field nor a continuation.
    """
    stanza: dict[str, list[str]] = {}
    field = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            if stanza:
                yield _joined(stanza)
            stanza, field = {}, ""
        elif line[0] in " \t":
            if not field:
                raise DocumentError(f"{name}:{number}: a continuation line without a field")
            stanza[field].append(line.strip())
        else:
            field, colon, value = line.partition(":")
            if not colon or not field.strip():
                raise DocumentError(f"{name}:{number}: not a `Field: value` line")
            stanza[field] = [value.strip()]
    if stanza:
        yield _joined(stanza)


def _joined(stanza: Mapping[str, list[str]]) -> dict[str, str]:
    return {field: "\n".join(lines) for field, lines in stanza.items()}


def control_of(fields: Mapping[str, str], *, name: str) -> Control:
    """The value of one paragraph. Raises: DocumentError: a mandatory field is missing."""
    missing = [key for key in ("Package", "Version", "Architecture") if not fields.get(key)]
    if missing:
        raise DocumentError(f"cannot read {name}: no {' and no '.join(missing)} in its control data")
    source, _, version = fields.get("Source", fields["Package"]).partition(" ")
    return Control(package=fields["Package"], version=fields["Version"], architecture=fields["Architecture"],
                   source=source, source_version=version.strip("()") or fields["Version"], fields=dict(fields))
