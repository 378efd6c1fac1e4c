"""Read an image once, in order, for everybody: pieces into shared buffers, each held to the digest its range must have.

Decides how far reading runs ahead (as far as there are buffers), and who digests: a range of one piece is digested by
the thread that read it, beside others; a longer one here, piece by piece. Such a piece is handed on before the digest
of its range is known; the media stay without their head until the last one has matched.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from imagekit.digests import short
from imagekit.disk.bmap import MappedRange
from imagekit.errors import DocumentError, TrustError
from imagekit.flash.buffers import Buffer, Pool
from imagekit.flash.source import Source
from imagekit.plan.flash import Piece

AHEAD = 3  # pieces that are being read or decoded at once


class Feed:
    """The pieces of an image. `digests` are those found, one for each range, once all is read.

    `held` has the bytes of the pieces that are written last, once for all media.
    """

    def __init__(self, source: Source, ranges: Sequence[MappedRange], pieces: Sequence[Piece], *, pool: Pool,
                 name: str) -> None:
        self._source, self._ranges, self.pieces = source, ranges, pieces
        self.pool, self._name = pool, name
        self.digests: dict[int, str] = {}
        self.held: dict[Piece, bytes] = {}
        self._stop = threading.Event()

    def end(self) -> None:
        """No more pieces."""
        self._stop.set()
        self.pool.end(self)

    def __iter__(self) -> Iterator[tuple[Piece, Buffer]]:
        """Every piece with its bytes; the feed holds its buffer until it is let go of in its name.

        Raises:
            TrustError: a range is not what the block map says.
            DocumentError: the image is damaged or ends early.
        """
        workers = min(AHEAD, os.cpu_count() or 1)
        running: deque[tuple[Piece, Buffer, Future[str | None]]] = deque()
        ahead = iter(self.pieces)
        digest, current = hashlib.sha256(), -1
        with ThreadPoolExecutor(workers, thread_name_prefix="source") as executor:
            try:
                while not self._stop.is_set():
                    while len(running) < workers and (piece := next(ahead, None)) is not None:
                        if (buffer := self.pool.get(self)) is None:
                            return
                        running.append((piece, buffer, executor.submit(self._fill, piece, buffer)))
                    if not running:
                        break
                    piece, buffer, filling = running[0]
                    found = filling.result()
                    if found is None:
                        if piece.range != current:
                            digest, current = hashlib.sha256(), piece.range
                        digest.update(buffer.view)
                        if piece.end == self._ranges[current].end:
                            found = digest.hexdigest()
                    if found is not None:
                        self._check(piece.range, found)
                    if piece.held:
                        self.held[piece] = bytes(buffer.view)
                    running.popleft()
                    yield piece, buffer
            finally:
                for _, buffer, filling in running:
                    filling.cancel() or filling.exception()
                    self.pool.let_go(buffer, self)

    def _fill(self, piece: Piece, buffer: Buffer) -> str | None:
        """Read a piece; the digest of its range, where that is all of it."""
        view = buffer.take(piece.end - piece.start)
        done = 0
        while done < len(view):
            count = self._source.read_into(piece.start + done, view[done:])
            if not count:
                raise DocumentError(f"cannot read {self._name}: it ends at byte {piece.start + done}, mapped up to"
                                    f" {piece.end}", hint="the image was cut short: make or fetch it again")
            done += count
        item = self._ranges[piece.range]
        return hashlib.sha256(view).hexdigest() if (piece.start, piece.end) == (item.start, item.end) else None

    def _check(self, index: int, found: str) -> None:
        stated = self._ranges[index].sha256
        self.digests[index] = found
        if stated and stated != found:
            item = self._ranges[index]
            raise TrustError(f"cannot use {self._name}: bytes {item.start} to {item.end} have SHA-256 {short(found)},"
                             f" its block map says {short(stated)}",
                             hint="the image changed after it was built: build or fetch it again")
