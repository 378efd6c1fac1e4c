"""An image as it is read: plain, or compressed by zstd, xz or gzip; piece by piece, into buffers that are handed in.

Plain files and zstd files of many frames are read anywhere, by several threads at once. All others can only be read
from the front, and are unpacked into a sparse file first. What a piece is and which digest it must have is the plan's.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import zstandard

from imagekit.disk.zstd_frames import Frame, index_frames
from imagekit.errors import DocumentError, HostError
from imagekit.host.files import no_space, reason, scratch_folder

SUFFIXES = (".zst", ".xz", ".gz")
_MAGICS = {b"\x28\xb5\x2f\xfd": ".zst", b"\xfd7zX": ".xz", b"\x1f\x8b": ".gz"}
MOST_FRAME = 64 << 20  # a frame is decoded whole
GRAIN = 1 << 16  # zeros of this size stay holes


class Source(Protocol):
    """An image that can be read anywhere."""

    path: Path  # what is read: the image, or what it was unpacked to

    @property
    def size(self) -> int:
        """Bytes of the image."""

    def read_into(self, start: int, view: memoryview) -> int:
        """The bytes at `start`; how many there were. Any thread may ask, for any place."""

    def stream(self) -> BinaryIO:
        """A seekable reader over the whole image."""

    def close(self) -> None: ...


class PlainSource:
    """A file as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    @property
    def size(self) -> int:
        return self._size

    def read_into(self, start: int, view: memoryview) -> int:
        return os.preadv(self._file.fileno(), [view], start)

    def stream(self) -> BinaryIO:
        return open(self._file.fileno(), "rb", closefd=False)

    def close(self) -> None:
        self._file.close()


class FramedSource:
    """A zstd file of many frames, each decoded by whoever asks for it."""

    def __init__(self, path: Path, packed: int, frames: tuple[Frame, ...]) -> None:
        self.path, self._packed, self._frames = path, packed, frames
        self._starts = [frame.start for frame in frames]
        self._local = threading.local()

    @property
    def size(self) -> int:
        return self._frames[-1].end

    def read_into(self, start: int, view: memoryview) -> int:
        done = 0
        while done < len(view) and start + done < self.size:
            frame = self._frames[bisect_right(self._starts, start + done) - 1]
            wanted = view[done:done + frame.end - (start + done)]
            if start + done == frame.start and len(wanted) == frame.end - frame.start:
                self._decode(frame, wanted)
            else:
                at = start + done - frame.start
                wanted[:] = self._kept(frame)[at:at + len(wanted)]
            done += len(wanted)
        return done

    def _kept(self, frame: Frame) -> memoryview:
        """A whole frame; each thread keeps its last one, since frames need not end where pieces do."""
        kept: tuple[Frame, memoryview] | None = getattr(self._local, "kept", None)
        if kept is None or kept[0] != frame:
            if frame.end - frame.start > MOST_FRAME:
                raise DocumentError(f"cannot read {self.path}: a frame of {frame.end - frame.start} bytes")
            kept = self._local.kept = None  # its memory is free for the next one
            content = memoryview(bytearray(frame.end - frame.start))
            self._decode(frame, content)
            kept = (frame, content)
            self._local.kept = kept
        return kept[1]

    def _decode(self, frame: Frame, view: memoryview) -> None:
        decoder: zstandard.ZstdDecompressor | None = getattr(self._local, "decoder", None)
        if decoder is None:
            decoder = self._local.decoder = zstandard.ZstdDecompressor()
        reader = decoder.stream_reader(os.pread(self._packed, frame.stop - frame.at, frame.at))
        done = 0
        try:
            while done < len(view) and (count := reader.readinto(view[done:])):
                done += count
        except zstandard.ZstdError as error:
            raise DocumentError(f"cannot read {self.path}: the frame at byte {frame.at}: {error}") from error
        if done < len(view):
            raise DocumentError(f"cannot read {self.path}: the frame at byte {frame.at} ends early")

    def stream(self) -> BinaryIO:
        return io.BufferedReader(SourceReader(self), 1 << 16)

    def close(self) -> None:
        os.close(self._packed)


class SourceReader(io.RawIOBase):
    """A parallel source as a seekable stream."""

    def __init__(self, source: FramedSource) -> None:
        super().__init__()
        self._source, self._position = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        count = self._source.read_into(self._position, memoryview(buffer).cast("B"))
        self._position += count
        return count


def open_source(path: Path) -> Source | None:
    """Open an image that can be read anywhere, by its first bytes; None: it must be unpacked first.

    Raises:
        HostError: it cannot be read.
        DocumentError: it is compressed, and damaged.
    """
    try:
        if not path.is_file():
            raise DocumentError(f"cannot use {path}: it is no file", hint="copy it into a file first: its size is not"
                                " told, and nothing would be written")
        with path.open("rb") as stream:
            head = stream.read(4)
            if not head:
                raise DocumentError(f"cannot use {path}: it is empty")
            kind = compression(head)
            if kind is None:
                return PlainSource(path)
            return _open_frames(path, stream) if kind == ".zst" else None
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error


def compression(head: bytes) -> str | None:
    """What an image is compressed with, by its first bytes, as the suffix of its name."""
    return next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), None)


def _open_frames(path: Path, stream: BinaryIO) -> FramedSource | None:
    size = os.fstat(stream.fileno()).st_size
    frames = index_frames(lambda at, length: os.pread(stream.fileno(), length, at), size, name=str(path))
    if frames is None or max(frame.end - frame.start for frame in frames) > MOST_FRAME:
        return None
    return FramedSource(path, os.dup(stream.fileno()), frames)


def plain_name(path: Path) -> Path:
    """The name that the image has when it is unpacked: what lies beside it is named after that."""
    return path.with_suffix("") if path.suffix in SUFFIXES else path


def unpack(path: Path, target: Path) -> None:
    """Unpack an image that can only be read from the front into a sparse file.

    Raises:
        DocumentError: it is damaged.
        HostError: the disk is full.
    """
    buffer, at, zeros = bytearray(GRAIN), 0, bytes(GRAIN)
    with path.open("rb") as packed:
        kind = compression(packed.read(4))
        packed.seek(0)
        try:
            with _unpacker(kind, packed) as stream, target.open("wb") as out:
                while count := _more(path, stream, buffer, at):
                    if buffer != zeros:
                        out.seek(at)
                        out.write(memoryview(buffer)[:count])  # whole: what a full disk takes a part of is written on
                    at += count
                out.truncate(at)
        except OSError as error:
            raise no_space(target, error) from error


def _unpacker(kind: str | None, packed: BinaryIO) -> Any:
    if kind == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    return XzReader(packed) if kind == ".xz" else gzip.GzipFile(fileobj=packed)


class XzReader(io.RawIOBase):
    """Every stream of an .xz file. `lzma.LZMAFile` ends silently at one that is damaged at its start.

    Source: the .xz file format 1.2.1, section 2.2: zeros may lie between streams, and after the last.
    """

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__()
        self._packed = packed
        self._decoder: lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Raises: lzma.LZMAError: it is damaged. EOFError: it was cut short."""
        content = b""
        while not content:
            if self._decoder is None or self._decoder.eof:
                raw = self._decoder.unused_data if self._decoder else b""
                while not (raw := raw.lstrip(b"\0")):
                    if not (raw := self._packed.read(GRAIN)):
                        return 0
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
            elif self._decoder.needs_input:
                if not (raw := self._packed.read(GRAIN)):
                    raise EOFError("it was cut short")
            else:
                raw = b""
            content = self._decoder.decompress(raw, max_length=len(buffer))
        buffer[:len(content)] = content
        return len(content)


def _more(path: Path, stream: Any, buffer: bytearray, at: int) -> int:
    try:
        return int(stream.readinto(buffer) or 0)
    except (zstandard.ZstdError, lzma.LZMAError, EOFError, zlib.error, OSError) as error:
        raise DocumentError(f"cannot read {path}: it is damaged at byte {at} of its content: {error}",
                            hint="fetch or make it again") from error


@contextlib.contextmanager
def opened(path: Path, scratch: Path) -> Iterator[Source]:
    """An image as something that can be read anywhere; what must be unpacked is, into a folder below `scratch`.

    Raises:
        HostError, DocumentError: see `open_source`, `unpack`.
    """
    with contextlib.ExitStack() as stack:
        source = open_source(path)
        if source is None:
            target = stack.enter_context(scratch_folder(scratch)) / plain_name(path).name
            unpack(path, target)
            source = PlainSource(target)
        try:
            yield source
        finally:
            source.close()
