"""What shall be on a disk, at any place: the image's bytes, a moved table in their place, zeros where nothing may show.

Decides that no byte is given that is not the block map's: each range is held to its digest once, and every later
reading to what was read then.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence

from imagekit.disk.gpt_move import Pieces
from imagekit.errors import DocumentError, TrustError
from imagekit.flash.source import Source
from imagekit.plan.flash import PIECE, Extent, ImageFacts, cut, patched


class Wanted:
    """The disk as it shall be. `seen` is told how many bytes of the image were read and found good."""

    def __init__(self, image: ImageFacts, source: Source, patches: Pieces, *,
                 seen: Callable[[int], None] = lambda _: None) -> None:
        self._image, self._source, self._patches = image, source, patches
        self._runs: list[tuple[Extent, bytes]] = []
        for item in image.ranges:
            digest = hashlib.sha256()
            for run in cut(item.start, item.end, PIECE):
                content = self._raw(run)
                digest.update(content)
                self._runs.append((run, hashlib.sha256(content).digest()))
                seen(len(content))
            if item.sha256 and digest.hexdigest() != item.sha256:
                raise TrustError(f"cannot use {image.path}: bytes {item.start} to {item.end} are not what its block map"
                                 " says", hint="fetch or build the image again")
        self._starts = [run[0] for run, _ in self._runs]
        self._kept: tuple[int, bytes] = (-1, b"")

    def read(self, start: int, end: int) -> bytes:
        """What shall be there. Raises: TrustError: the image has changed since it was looked at."""
        content = bytearray(end - start)
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._runs) and self._starts[index] < end:
            (low, high), _ = self._runs[index]
            if high > start:
                run = self._run(index)
                first, last = max(low, start), min(high, end)
                content[first - start:last - start] = run[first - low:last - low]
            index += 1
        patched(content, start, self._patches)
        return bytes(content)

    def _run(self, index: int) -> bytes:
        """A run of the image; the last one is kept."""
        if self._kept[0] != index:
            run, digest = self._runs[index]
            content = self._raw(run)
            if hashlib.sha256(content).digest() != digest:
                raise TrustError(f"cannot use {self._image.path}: it has changed while it was read")
            self._kept = (index, content)
        return self._kept[1]

    def _raw(self, run: Extent) -> bytes:
        content = bytearray(run[1] - run[0])
        view, done = memoryview(content), 0
        while done < len(content):
            count = self._source.read_into(run[0] + done, view[done:])
            if not count:
                raise DocumentError(f"cannot read {self._image.path}: it ends at byte {run[0] + done}")
            done += count
        return bytes(content)


def covers(extents: Sequence[Extent], start: int, end: int) -> bool:
    """Whether one of the extents holds all of a run."""
    return any(low <= start and end <= high for low, high in extents)
