"""Compress an image in frames that end where the pieces do that a flasher reads.

Decides where frames are cut: at both ends of every piece. So a reader that knows the block map decodes only what is
mapped, each frame once and straight into its buffer, several at once, and empty space costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import zstandard

from imagekit.errors import DocumentError
from imagekit.flash.look import look
from imagekit.flash.source import PlainSource, open_source
from imagekit.host.files import atomic_file
from imagekit.host.ports import Progress
from imagekit.plan.flash import PIECE, Extent, ImageFacts, cut, plan_pieces

WORKERS = 2
EMPTY = 4 * PIECE  # one frame of unmapped space: its content is not looked at by a flasher


def compress_image(image: Path, output: Path, *, level: int, progress: Progress) -> None:
    """Write `output`.

    Raises:
        DocumentError: the image is compressed already.
        HostError: no space.
    """
    source = open_source(image)
    if not isinstance(source, PlainSource):
        raise DocumentError(f"cannot compress {image}: it is compressed already")
    try:
        facts = look(image, source)
        progress.step(f"compress {image.name}", total=facts.size)
        with atomic_file(output) as out:
            for packed, length in _packed(source, facts, level):
                out.write(packed)
                progress.advance(length)
    finally:
        source.close()


def _frames(facts: ImageFacts) -> Iterator[Extent]:
    """The whole image in frames, ascending."""
    at = 0
    for piece in plan_pieces(facts):
        yield from cut(at, piece.start, EMPTY)
        yield piece.start, piece.end
        at = piece.end
    yield from cut(at, facts.size, EMPTY)


def _packed(source: PlainSource, facts: ImageFacts, level: int) -> Iterator[tuple[bytes, int]]:
    """Every frame compressed, in order, by several threads."""
    running: deque[tuple[Future[bytes], int]] = deque()
    with ThreadPoolExecutor(WORKERS) as executor:
        for start, end in _frames(facts):
            running.append((executor.submit(_pack, source, start, end, level), end - start))
            if len(running) > WORKERS:
                future, length = running.popleft()
                yield future.result(), length
        for future, length in running:
            yield future.result(), length


def _pack(source: PlainSource, start: int, end: int, level: int) -> bytes:
    content = bytearray(end - start)
    if source.read_into(start, memoryview(content)) != len(content):  # what is missing would be zeros
        raise DocumentError(f"cannot compress {source.path}: it ends before byte {end}, and had {source.size}",
                            hint="it changed while it was read")
    return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True).compress(content)
